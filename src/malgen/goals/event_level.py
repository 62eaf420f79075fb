"""What somebody who pursues a goal takes next: goal inference for levels of any size.

Time is counted in events. At each decision epoch (the start, and after each item) the
choice is the item reached next, or to stop: ``P(q) ~ exp(beta * gamma**d(q) * (r(q) +
V(after q)))`` with the exact values ``V`` of all (last item, keys taken, chests opened)
states. How the agent walks between items is not scored.

Source: measurement.md 3.2 ("scalable version"); softmax choice between options of
different length (Sutton, Precup & Singh 1999), own combination.
"""

from dataclasses import dataclass, replace

import numpy as np

from malgen.errors import ConfigError, NotMeasurable
from malgen.goals.soft_values import BETAS, DISCOUNTS, LAPSES
from malgen.planning.problem import MOVES, LevelBatch, Weights
from malgen.planning.tours import event_graph
from malgen.planning.values import Chunk, backward

# What goals are told apart by: as sharp as the planted agents of measurement.md 3.2.
REFERENCE_BETA = 32.0
REFERENCE_DISCOUNT = 0.97
REFERENCE_LAPSE = 0.02


@dataclass(frozen=True, eq=False)
class Tables:
    """Levels with everything that does not depend on who is watched.

    Attributes:
        levels: b levels of one kind, m items each.
        chunk: distances between items, by which items can be crossed.
        items: int[m, b, 2], cells of the items, keys first.
        goals: the library.
        values: (goal, discount) -> float32[s, b], exact value of every state.
    """

    levels: LevelBatch
    chunk: Chunk
    items: np.ndarray
    goals: dict[str, Weights]
    values: dict[tuple[str, float], np.ndarray]

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def num_items(self) -> int:
        """Items of each level."""
        return self.chunk.graph.num_items


def tabulate(
    levels: LevelBatch,
    goals: dict[str, Weights],
    *,
    discounts: tuple[float, ...] = DISCOUNTS,
    ends_on_completion: bool = True,
) -> Tables:
    """Exact values of all states of all levels, for each goal and discount.

    Args:
        levels: b levels with equally many keys, chests and keys in hand.
        goals: name -> event rewards (of keys, chests and excess only).
        discounts: each in (0, 1).
        ends_on_completion: as in the world that is played.

    Raises:
        ConfigError: levels of several kinds, or rewards for marked items.
        NotMeasurable: too many items to enumerate.
    """
    for name, weights in goals.items():
        if weights.flagged or weights.owned:
            raise ConfigError(
                f"The goal {name!r} rewards marked items, which choices between items "
                "do not tell apart; give rewards of keys, chests and excess only."
            )
    chunk, items = event_graph(levels, ends_on_completion=ends_on_completion)
    values = {}
    for name, weights in goals.items():
        rewarded = _rewarded(chunk, weights)
        for discount in discounts:
            values[name, discount] = backward(rewarded, discount).astype(np.float32)
    return Tables(levels, chunk, items, dict(goals), values)


def _rewarded(chunk: Chunk, weights: Weights) -> Chunk:
    key = np.arange(chunk.graph.num_items) < chunk.graph.num_keys
    reward = np.where(key, weights.key, weights.chest).astype(np.float64)
    reward = np.repeat(reward[:, None], chunk.first.shape[2], axis=1)
    return replace(chunk, reward=reward, uniform=True, excess=weights.excess)


@dataclass(frozen=True, eq=False)
class Epochs:
    """Decisions, in the order of the levels; e epochs, m items, stop is item m.

    Attributes:
        level: int[e].
        state: int[e], of the graph; -1 at the start.
        options: bool[e, m + 1], items that can be the next event, and to stop.
        distance: int[e, m], steps on paths that touch nothing that would be an event.
        following: int[e, m], state after each item; -1 if it cannot be next.
        chosen: bool[e, m + 1], what was chosen. When nothing was reached this is to
            stop, or any item for which the time left was too short.
        taken: int[e], the item reached; m if none was.
        left: int[e], steps left.
        after: int[e], steps until the item was reached; ``left`` if none was.
    """

    level: np.ndarray
    state: np.ndarray
    options: np.ndarray
    distance: np.ndarray
    following: np.ndarray
    chosen: np.ndarray
    taken: np.ndarray
    left: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.level)

    def take(self, rows: np.ndarray) -> "Epochs":
        """The epochs at ``rows`` (int[k] or bool[e])."""
        return Epochs(**{name: array[rows] for name, array in vars(self).items()})


def possible(
    tables: Tables, state: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What can be the next event.

    Args:
        tables: the levels.
        state: int[e], -1 for the start.
        level: int[e].

    Returns:
        int[e, m] state after each item (-1 if it cannot be next) and int[e, m] steps.
    """
    graph, chunk = tables.chunk.graph, tables.chunk
    start = state < 0
    known = np.maximum(state, 0)
    following = np.where(start[:, None], graph.first, graph.successor[known])
    row = graph.row(known[:, None], np.arange(graph.num_items))
    distance = np.where(
        start[:, None], chunk.first[0][:, level].T, chunk.distance[row, level[:, None]]
    ).astype(np.int64)
    return np.where(distance < chunk.far, following, -1), distance


def decisions(
    tables: Tables, item: np.ndarray, time: np.ndarray, horizon: int
) -> Epochs:
    """The choices behind the items that were reached.

    An item that is touched on the way to another one counts as chosen: it is the
    item reached next, and what could be reached without touching it were the
    alternatives.

    Args:
        tables: b levels.
        item: int[b, e], items in the order in which they were reached, -1 after.
        time: int[b, e], steps after which each was reached.
        horizon: steps of an episode.

    Returns:
        The epochs at which there was a choice: those where time was left for one item
        at least.
    """
    number, most = item.shape
    m, parts = tables.num_items, []
    state = np.full(number, -1)
    clock = np.zeros(number, np.int64)
    going = np.arange(number)
    for event in range(most + 1):
        following, distance = possible(tables, state[going], going)
        taken = item[going, event] if event < most else np.full(len(going), -1)
        reached = taken >= 0
        taken = np.where(reached, taken, m)
        left = horizon - clock[going]
        when = time[going, event] if event < most else clock[going]
        open_ = following >= 0
        stop = np.ones((len(going), 1), bool)
        chosen = np.arange(m + 1) == taken[:, None]
        late = open_ & (distance > left[:, None]) & ~reached[:, None]
        chosen |= np.concatenate([late, ~stop], axis=1)
        parts.append(
            Epochs(
                level=going,
                state=state[going],
                options=np.concatenate([open_, stop], axis=1),
                distance=distance,
                following=following,
                chosen=chosen,
                taken=taken,
                left=left,
                after=np.where(reached, when - clock[going], left),
            )
        )
        clock[going] = when
        rows = np.flatnonzero(reached)
        state[going[rows]] = following[rows, taken[rows]]
        going = going[rows]
        if not len(going):
            break
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in vars(parts[0])
    }
    whole = Epochs(**joined)
    in_reach = whole.options[:, :m] & (whole.distance <= whole.left[:, None])
    whole = whole.take(np.flatnonzero(in_reach.any(axis=1)))
    return whole.take(np.argsort(whole.level, kind="stable"))


def qualities(tables: Tables, epochs: Epochs, goal: str, discount: float) -> np.ndarray:
    """Discounted worth of each choice: float64[e, m + 1]; -inf where impossible.

    Stopping is worth 0.
    """
    graph, weights = tables.chunk.graph, tables.goals[goal]
    m = graph.num_items
    key = np.arange(m) < graph.num_keys
    state = np.maximum(epochs.state, 0)
    in_hand = np.where(epochs.state >= 0, graph.keys_taken[state], 0)
    spare = in_hand >= max(0, graph.num_chests - graph.held)
    reward = np.where(key, weights.key, weights.chest)
    reward = reward + weights.excess * (key & spare[:, None])
    value = tables.values[goal, discount]
    to_go = value[np.maximum(epochs.following, 0), epochs.level[:, None]]
    worth = discount**epochs.distance * (reward + discount * to_go)
    worth = np.concatenate([worth, np.zeros((len(epochs), 1))], axis=1)
    return np.where(epochs.options, worth, -np.inf)


def choice_probabilities(
    worth: np.ndarray, options: np.ndarray, beta: float, lapse: float
) -> np.ndarray:
    """Softmax of the worth, mixed with a uniform choice: float64[e, m + 1]."""
    odds = np.exp(beta * (worth - worth.max(axis=1, keepdims=True)))
    odds /= odds.sum(axis=1, keepdims=True)
    return (1 - lapse) * odds + lapse * uniform(options)


def uniform(options: np.ndarray) -> np.ndarray:
    """Every possible choice alike: float64[e, m + 1]."""
    return options / options.sum(axis=1, keepdims=True)


def log_likelihoods(
    tables: Tables, epochs: Epochs, goal: str, discounts: tuple[float, ...] = DISCOUNTS
) -> np.ndarray:
    """Log-probability of what was chosen, for each setting of the agent.

    Returns:
        float64[e, g], nats; g = discounts x BETAS x LAPSES, in that order.
    """
    even = (uniform(epochs.options) * epochs.chosen).sum(axis=1)
    columns = []
    for discount in discounts:
        worth = qualities(tables, epochs, goal, discount)
        for beta in BETAS:
            sharp = choice_probabilities(worth, epochs.options, beta, 0.0)
            hit = (sharp * epochs.chosen).sum(axis=1)
            columns += [np.log((1 - lapse) * hit + lapse * even) for lapse in LAPSES]
    return np.stack(columns, axis=1)


def drift(tables: Tables, epochs: Epochs) -> np.ndarray:
    """What uniformly random actions would reach first: float64[e, m + 1].

    The device without a goal: an item is near, so it is hit. The last entry is the
    probability to reach nothing in the time left.
    """
    graph, m = tables.chunk.graph, tables.num_items
    walls = tables.levels.walls[epochs.level]
    rows = np.arange(len(walls))
    begin = tables.levels.start[epochs.level]
    known = epochs.state >= 0
    last = graph.last[np.maximum(epochs.state, 0)]
    begin = np.where(known[:, None], tables.items[last, epochs.level], begin)
    cells = tables.items[:, epochs.level]  # [m, e, 2]
    active = np.zeros(walls.shape, bool)
    for i in range(m):
        on = epochs.following[:, i] >= 0
        # items that only others shield are active too, but nobody gets there first
        active[rows[on], cells[i, on, 0], cells[i, on, 1]] = True
    at = np.zeros(walls.shape)
    at[rows, begin[:, 0], begin[:, 1]] = 1.0
    free = (~walls).astype(float)
    stuck = np.zeros(walls.shape)  # share of the actions that leave one where one is
    for row, column in MOVES[:4]:
        stuck += 1 - np.roll(free, (-row, -column), axis=(1, 2))
    stuck = (stuck + 1) / len(MOVES)
    hit = np.zeros(walls.shape)
    for step in range(int(epochs.left.max(initial=0))):
        inflow = at * stuck
        for row, column in MOVES[:4]:
            inflow += np.roll(at, (row, column), axis=(1, 2)) * free / len(MOVES)
        arrived = inflow * active
        moving = (step < epochs.left)[:, None, None]
        hit += arrived * moving
        at = inflow - arrived
    found = hit[rows[:, None], cells[..., 0].T, cells[..., 1].T]
    found = found * (epochs.following >= 0)
    nothing = np.maximum(1 - found.sum(axis=1, keepdims=True), 0.0)
    return np.concatenate([found, nothing], axis=1)


def device_log_likelihoods(tables: Tables, epochs: Epochs) -> dict[str, np.ndarray]:
    """Log-probability of what was chosen by each device: float64[e, g], nats.

    "uniform" takes any possible choice alike, "drift" what random actions reach
    first, "still" never takes anything; the last two with the lapses of the grid.
    """
    even = (uniform(epochs.options) * epochs.chosen).sum(axis=1)
    wander = drift(tables, epochs)
    # reaching nothing by chance is what was seen, whatever the reason would be
    wander = np.where(
        epochs.taken == tables.num_items,
        wander[:, -1],
        (wander * epochs.chosen).sum(axis=1),
    )
    still = epochs.chosen[:, -1].astype(float)

    def lapsing(sure):
        return np.log(np.stack([(1 - e) * sure + e * even for e in LAPSES], axis=1))

    return {
        "uniform": np.log(even)[:, None],
        "drift": lapsing(wander),
        "still": lapsing(still),
    }


def divergences(tables: Tables, horizon: int, seed: int = 0) -> np.ndarray:
    """How well the levels tell the goals apart.

    Each goal plays all levels once, soft and with lapses, and every other goal is
    compared with it where it went, at the setting that comes closest.

    Returns:
        float64[goals, goals], nats per level: Kullback-Leibler divergence from the
        goal that plays (row) to the other (column).
    """
    rng = np.random.default_rng(seed)
    names = list(tables.goals)
    apart = np.zeros((len(names), len(names)))
    for i, played in enumerate(names):
        epochs = _self_play(tables, played, horizon, rng)
        worth = qualities(tables, epochs, played, REFERENCE_DISCOUNT)
        own = choice_probabilities(
            worth, epochs.options, REFERENCE_BETA, REFERENCE_LAPSE
        )
        log_own = np.where(own > 0, np.log(np.where(own > 0, own, 1)), 0.0)
        entropy = (own * log_own).sum()
        for j, other in enumerate(names):
            if i == j:
                continue
            best = np.inf
            for discount in sorted({d for _, d in tables.values}):
                worth = qualities(tables, epochs, other, discount)
                for beta in BETAS:
                    for lapse in LAPSES:
                        theirs = choice_probabilities(
                            worth, epochs.options, beta, lapse
                        )
                        seen = np.log(np.where(theirs > 0, theirs, 1))
                        best = min(best, entropy - (own * seen).sum())
            apart[i, j] = max(best, 0.0) / len(tables)
    return apart


def _self_play(
    tables: Tables, goal: str, horizon: int, rng: np.random.Generator
) -> Epochs:
    """One episode of a goal on each level, walking straight from item to item."""
    number, m = len(tables), tables.num_items
    item = np.full((number, m), -1)
    time = np.zeros((number, m), np.int64)
    state = np.full(number, -1)
    clock = np.zeros(number, np.int64)
    going = np.arange(number)
    for event in range(m):
        following, distance = possible(tables, state[going], going)
        epochs = Epochs(
            level=going,
            state=state[going],
            options=np.concatenate(
                [following >= 0, np.ones((len(going), 1), bool)], axis=1
            ),
            distance=distance,
            following=following,
            chosen=np.zeros((len(going), m + 1), bool),
            taken=np.full(len(going), m),
            left=horizon - clock[going],
            after=np.zeros(len(going), np.int64),
        )
        worth = qualities(tables, epochs, goal, REFERENCE_DISCOUNT)
        odds = choice_probabilities(
            worth, epochs.options, REFERENCE_BETA, REFERENCE_LAPSE
        )
        draw = rng.random((len(going), 1))
        choice = np.minimum((odds.cumsum(axis=1) < draw).sum(axis=1), m)
        rows = np.flatnonzero(choice < m)
        arrival = clock[going[rows]] + distance[rows, choice[rows]]
        rows = rows[arrival <= horizon]
        chosen = choice[rows]
        clock[going[rows]] += distance[rows, chosen]
        item[going[rows], event] = chosen
        time[going[rows], event] = clock[going[rows]]
        state[going[rows]] = following[rows, chosen]
        going = going[rows]
        if not len(going):
            break
    return decisions(tables, item, time, horizon)


def equivalence_classes(
    names: tuple[str, ...], apart: np.ndarray, number: int
) -> tuple[tuple[str, ...], ...]:
    """Goals that so many levels cannot tell apart, together.

    Args:
        names: the goals.
        apart: float[goals, goals], nats per level.
        number: of levels.

    Returns:
        The classes, in the order of the library. Two goals share one when the
        expected Bayes factor between them is below 20 for either as the truth.

    Source: measurement.md 3.2 (equivalence classes).
    """
    label = list(range(len(names)))
    close = np.minimum(apart, apart.T) * number < np.log(20)
    for i in range(len(names)):
        for j in range(i):
            if close[i, j]:
                label = [label[j] if k == label[i] else k for k in label]
    groups: dict[int, list[str]] = {}
    for name, k in zip(names, label, strict=True):
        groups.setdefault(k, []).append(name)
    return tuple(tuple(group) for group in groups.values())


def items_reached(
    tables: Tables, event: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which items a recorded walk reached, and when.

    Args:
        tables: b levels.
        event: bool[b, t], whether the action of each step took or opened something.
        row: int[b, t], of the agent after the action.
        column: int[b, t].

    Returns:
        int[b, e] items in order (-1 after the last) and int[b, e] steps.

    Raises:
        NotMeasurable: something was taken where no item lies.
    """
    number = len(event)
    most = max(1, int(event.sum(axis=1).max(initial=0)))
    order = np.argsort(~event, axis=1, kind="stable")[:, :most]
    real = np.take_along_axis(event, order, axis=1)
    at = np.stack(
        [np.take_along_axis(a, order, axis=1) for a in (row, column)], axis=-1
    )
    same = (at[:, :, None] == tables.items.swapaxes(0, 1)[:, None]).all(axis=-1)
    if not same.any(axis=2)[real].all():
        raise NotMeasurable(
            "An item was taken where none lies at the start of the level, so choices "
            "between items cannot be told; give episodes from the levels' start."
        )
    item = np.where(real, same.argmax(axis=2), -1)
    return item.reshape(number, most), np.where(real, order + 1, 0)
