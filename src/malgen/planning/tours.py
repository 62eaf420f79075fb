"""Exact optimal item tours for batches of Keys and Chests levels.

An optimal agent for a given objective is the yardstick for returns, regret and
harm. States are taken only at events (Held & Karp 1962), levels are lanes of array
operations, and routes avoid items whose events are not wanted. Value, plan, values
of first actions, ties by excess, discount and deadline are all exact.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from malgen.errors import ConfigError
from malgen.planning import arrivals, distances
from malgen.planning.graph import Graph, build
from malgen.planning.problem import MOVES, TOLERANCE, LevelBatch, Solution, Weights
from malgen.planning.replay import replay
from malgen.planning.search import Problems, search
from malgen.planning.values import (
    TIES_BY_EXCESS,
    Chunk,
    backward,
    greedy_plan,
    rewards,
    root_values,
)

CHUNK_BYTES = 96 << 20
"""Memory that the tables of the levels solved together may take."""

BEAM = 24
"""Plans kept per level in the quick search for a first bound."""

SEARCHES = 64
"""Levels under a binding horizon that are searched together."""

TIES = ("any", "worst", "best")


def solve(
    levels: LevelBatch,
    weights: Weights,
    *,
    horizon: int | np.ndarray,
    discount: float = 1.0,
    ties: str = "any",
    tie_weights: Weights = TIES_BY_EXCESS,
    ends_on_completion: bool = True,
    q_values: bool = True,
    workers: int | None = None,
) -> Solution:
    """Find the optimal value and plan of each level for given event rewards.

    The action of step t (counted from 0) carries the weight ``discount**t``, so an
    item d steps away is worth ``discount**(d-1)`` of its reward. The agent may stop
    at any time; a plan stays as soon as nothing more can be earned, which for X is
    after the last chest.

    Args:
        levels: n levels; ``held`` may be positive, so observations can be solved.
        weights: event rewards, objective units.
        horizon: steps until the episode is cut off, one number or int[n].
        discount: in (0, 1].
        ties: among plans of optimal value: "worst" takes one with the most excess,
            "best" one with the least, "any" whichever is found first. Without
            discount, the quickest of these.
        tie_weights: what "worst" and "best" count, from ``excess`` and ``flagged``;
            anything but excess needs ``discount < 1``.
        ends_on_completion: whether the episode ends when no more chest can be
            opened; otherwise only the horizon ends it.
        q_values: whether to compute ``q`` and ``first_actions``.
        workers: threads; one per core (at most 4) if not given.

    Returns:
        Values in float64 and plans; see `Solution`.

    Raises:
        ConfigError: an argument is out of range.
        NotMeasurable: a level has too many items for exact planning.

    Laws:
        The value equals the return of playing ``actions`` in the world.

    Source:
        Own; verified against a dense state-by-state engine and exhaustive search.

    Example:
        >>> grid = np.array([list(row) for row in ("#####", "#Akc#", "#####")])[None]
        >>> items = dict(keys=grid == "k", chests=grid == "c")
        >>> start = np.argwhere(grid[0] == "A")
        >>> level = LevelBatch(walls=grid == "#", start=start, **items)
        >>> solve(level, Weights(chest=1), horizon=9, discount=0.5).value
        array([0.5])
    """
    if ties not in TIES:
        raise ConfigError(f"ties={ties!r} is unknown; choose one of {', '.join(TIES)}.")
    if discount == 1 and ties != "any" and tie_weights != TIES_BY_EXCESS:
        raise ConfigError(
            f"Ties by {tie_weights} need a discount below 1; without one, ties are "
            "broken by excess only."
        )
    if not 0 < discount <= 1:
        raise ConfigError(f"discount={discount} is not in (0, 1]; give such a number.")
    n = len(levels)
    horizons = np.broadcast_to(np.asarray(horizon, np.int64), (n,))
    if (horizons < 0).any() or (horizons > 16000).any():
        raise ConfigError(
            f"horizon={horizon} is outside 0 to 16000 steps; give one inside."
        )
    work = []
    for kind, rows in levels.groups().items():
        graph = _graph_for(kind, weights, discount, ties, ends_on_completion)
        size = lanes_at_once(graph, levels.walls.shape[1:], discount, q_values)
        parts = max(1, -(-len(rows) // size))
        work += [(graph, part) for part in np.array_split(rows, parts)]

    def run(job: tuple[Graph | None, np.ndarray]) -> Solution:
        graph, rows = job
        part = levels.take(rows)
        if graph is None:
            return _nothing_to_do(len(rows), q_values)
        return _solve_chunk(
            graph, part, weights, tie_weights, horizons[rows], discount, ties, q_values
        )

    workers = workers or min(4, os.cpu_count() or 1)
    if len(work) > 1 and workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            solutions = list(pool.map(run, work))
    else:
        solutions = [run(job) for job in work]
    longest = int(np.max(horizon, initial=0))
    return _gather(n, longest, q_values, work, solutions)


def refuse_too_many(
    levels: LevelBatch,
    weights: Weights,
    *,
    discount: float = 1.0,
    ties: str = "any",
    ends_on_completion: bool = True,
) -> None:
    """Tell beforehand whether `solve` takes levels with so many items.

    Raises:
        NotMeasurable: what `solve` would raise; see `malgen.planning.bounds`, which
            takes levels of any size.
    """
    for kind in levels.groups():
        _graph_for(kind, weights, discount, ties, ends_on_completion)


def _graph_for(
    kind: tuple[int, int, int],
    weights: Weights,
    discount: float,
    ties: str,
    ends_on_completion: bool,
) -> Graph | None:
    """The state graph to use, None if nothing can happen."""
    num_keys, num_chests, held = kind
    openable = min(num_chests, held + num_keys)
    if openable == 0 and (num_keys == 0 or ends_on_completion):
        return None
    full = not (weights.only_chests and discount < 1 and ties != "best")
    return build(num_keys, num_chests, held, ends_on_completion, full)


def lanes_at_once(
    graph: Graph | None, shape: tuple[int, int], discount: float, q_values: bool
) -> int:
    """How many levels to solve together, for the memory of their tables."""
    if graph is None:
        return 1 << 16
    m, states = graph.num_items, len(graph.last)
    width = 1 if (shape[0] - 2) * (shape[1] - 2) <= 127 else 2
    per_level = states * (8 if discount < 1 else 8 + 2 * (6 if q_values else 1))
    if graph.full:
        per_level += (m * m // 2 * width) << m
    return int(np.clip(CHUNK_BYTES // max(1, per_level), 4, 128))


def event_graph(
    levels: LevelBatch, *, ends_on_completion: bool = True
) -> tuple[Chunk, np.ndarray]:
    """The states between events of levels of one kind, and what lies between them.

    All sets of keys taken and chests opened are told apart, so that the result
    serves every objective; its rewards are those of ``Weights()``.

    Args:
        levels: b levels with equally many keys, chests and keys in hand.
        ends_on_completion: whether nothing happens after the last openable chest.

    Returns:
        The tables of the engines (the start of each level is the first root), and
        the cells of the items, keys first: int[m, b, 2].

    Raises:
        ConfigError: the levels are of several kinds, or nothing can happen on them.
        NotMeasurable: there are too many items to enumerate.
    """
    kinds = list(levels.groups())
    if len(kinds) != 1:
        raise ConfigError(
            f"The levels are of {len(kinds)} kinds (keys, chests, keys in hand); give "
            "levels that have equally many of each."
        )
    graph = _graph_for(kinds[0], Weights(key=1.0), 1.0, "any", ends_on_completion)
    if graph is None:
        raise ConfigError(
            f"Nothing can happen on levels with {kinds[0][0]} keys, {kinds[0][1]} "
            f"chests and {kinds[0][2]} keys in hand; give levels with a choice."
        )
    items = item_cells(levels, graph)
    # distances in the narrow type, because no arrival times are compared
    horizon = np.zeros(len(levels), np.int64)
    return measured(graph, levels, Weights(), items, horizon, 0.5, False), items


def _solve_chunk(
    graph: Graph,
    levels: LevelBatch,
    weights: Weights,
    tie_weights: Weights,
    horizon: np.ndarray,
    discount: float,
    ties: str,
    q_values: bool,
) -> Solution:
    """Solve levels of one kind."""
    items = item_cells(levels, graph)
    chunk = measured(graph, levels, weights, items, horizon, discount, q_values)
    chunk = replace(chunk, tie_weights=tie_weights)
    solver: Callable = _undiscounted if discount == 1 else _discounted
    value, q, order, steps = solver(chunk, horizon, discount, ties, q_values)
    longest = int(horizon.max(initial=0))
    actions = replay(
        levels.walls, levels.start, items, graph.num_keys, graph.held, order, longest
    )
    taken = ((order >= 0) & (order < graph.num_keys)).sum(1)
    enough = max(0, graph.num_chests - graph.held)
    cells = items[..., 0] * levels.walls.shape[2] + items[..., 1]
    lanes = np.arange(len(levels))[:, None]
    return Solution(
        value=value,
        q=q,
        first_actions=None if q is None else q >= q.max(1, keepdims=True) - TOLERANCE,
        actions=actions,
        steps=steps,
        keys=taken,
        chests=(order >= graph.num_keys).sum(1),
        excess=np.maximum(0, taken - enough),
        order=np.where(order >= 0, cells[np.maximum(order, 0), lanes], -1),
    )


def item_cells(levels: LevelBatch, graph: Graph) -> np.ndarray:
    """Cells of the items, keys first: int[m, b, 2]."""
    b = len(levels)
    parts = [
        np.stack(np.nonzero(maps)[1:], 1).reshape(b, num, 2)
        for maps, num in (
            (levels.keys, graph.num_keys),
            (levels.chests, graph.num_chests),
        )
    ]
    return np.concatenate(parts, 1).swapaxes(0, 1)


def measured(
    graph: Graph,
    levels: LevelBatch,
    weights: Weights,
    items: np.ndarray,
    horizon: np.ndarray,
    discount: float,
    q_values: bool,
) -> Chunk:
    """Measure distances and rewards of levels of one kind."""
    b, m = len(levels), graph.num_items
    h, w = levels.walls.shape[1:]
    lanes = np.arange(b)
    roots = levels.start[None]
    if q_values:
        after = levels.start[None] + MOVES[:, None]
        bumped = levels.walls[lanes, after[..., 0], after[..., 1]]
        after = np.where(bumped[..., None], levels.start[None], after)
        roots = np.concatenate([roots, after])
    steps = distances.direct(levels.walls, np.concatenate([roots, items]), items)
    num_cells = (h - 2) * (w - 2)
    if discount == 1 and horizon.max(initial=0) >= 255:
        num_cells = max(num_cells, 128)
    steps, far = distances.compact(steps, num_cells)
    first, between = steps[: len(roots)], steps[len(roots) :]
    crossed = None
    if graph.full:
        table = distances.through_sets(between)
        inactive = graph.initial_inactive()
        first = distances.join(first, distances.through(between, inactive), inactive)
        if far == 127 and discount == 1:
            # Arrival times are compared with the horizon, so no path must be later.
            for part in (*table, first):
                part |= (part == far).view(np.uint8) << np.uint8(7)
            far = 255
    else:
        table = distances.through(between, range(m))
        first = distances.join(first, table, range(m))
        crossed = _keys_between(graph, first[0], table)
    hit = np.full((len(roots), b), -1)
    for item in range(m if graph.held else graph.num_keys):
        on = (roots == items[item]).all(-1)
        hit[on] = item
    cells = (lanes, items[..., 0], items[..., 1])
    flagged = levels.flagged[cells][: graph.num_keys]
    owned = levels.owned[cells][graph.num_keys :]
    reward, uniform = rewards(weights, flagged, owned)
    return Chunk(
        graph=graph,
        distance=table.reshape(-1, b),
        first=first,
        hit=hit,
        far=far,
        reward=reward,
        uniform=uniform,
        excess=weights.excess,
        between=crossed,
        flagged=(flagged << np.arange(graph.num_keys)[:, None]).sum(0),
    )


def _keys_between(graph: Graph, first: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Bit sets of keys on shortest paths: int32[1 + m, m, b], from the start first."""
    steps = np.concatenate([first[None], table]).astype(np.int16)
    crossed = np.zeros(steps.shape, np.int32)
    for key in range(graph.num_keys):
        on = steps[:, key, None] + steps[None, 1 + key] == steps
        on[1 + key] = False
        on[:, key] = False
        crossed |= on.astype(np.int32) << key
    return crossed


def _undiscounted(chunk, horizon, discount, ties, q_values):
    """Terminal objectives by earliest arrival."""
    graph, b = chunk.graph, chunk.first.shape[2]
    lanes = np.arange(b)
    begins, worth = arrivals.classes(chunk)
    arrival = arrivals.forward(chunk, slice(None))
    earliest = np.minimum.reduceat(arrival, begins, axis=0)
    reachable = np.where(earliest[:, 0] <= horizon, worth, -np.inf)
    value = np.maximum(reachable.max(0), 0.0)
    final = worth >= value - TOLERANCE
    own, own_earliest, absorbing = arrival[:, 0], earliest[:, 0], None
    if ties == "worst":
        sizes = np.diff(begins, append=len(graph.last))
        absorbing = np.repeat(final, sizes, axis=0)
        own = arrivals.forward(chunk, slice(0, 1), absorbing)[:, 0]
        own_earliest = np.minimum.reduceat(own, begins, axis=0)
    sign = {"worst": 1, "best": -1, "any": 0}[ties]
    excess = arrivals.excess_of(graph)[begins].astype(np.int32)
    score = sign * (excess[:, None] << 16) - own_earliest
    score = np.where(final & (own_earliest <= horizon), score, -(1 << 30))
    ending = score.argmax(0)
    idle = value <= TOLERANCE
    steps = np.where(idle, 0, own_earliest[ending, lanes])
    state = np.full(b, -1)
    for end in np.unique(ending[~idle]):
        lane = np.flatnonzero(~idle & (ending == end))
        stop = begins[end + 1] if end + 1 < len(begins) else len(graph.last)
        state[lane] = begins[end] + own[begins[end] : stop, lane].argmin(0)
    order = arrivals.trace(chunk, own, absorbing, state)
    q = None
    if q_values:
        q = np.zeros((b, 5))
        for action in range(5):
            root = action + 1
            best = np.where(earliest[:, root] <= horizon - 1, worth, -np.inf).max(0)
            best = np.where(chunk.hit[root] >= 0, best, np.maximum(best, 0.0))
            q[:, action] = np.where(horizon >= 1, best, 0.0)
    return value, q, order, steps


def _discounted(chunk, horizon, discount, ties, q_values):
    """Discounted objectives: backward values, then plans that fit the horizon."""
    b = chunk.first.shape[2]
    to_go = backward(chunk, discount)
    at_roots = root_values(chunk, to_go, discount)
    lanes = np.arange(b)
    value = at_roots[0].copy()
    choose = "worst" if ties == "any" else ties
    if ties == "any" and chunk.graph.full:
        order, steps = greedy_plan(chunk, to_go, discount, np.zeros(b, int))
    else:
        found = search(
            chunk,
            to_go,
            discount,
            Problems(lanes, np.zeros(b, int), horizon),
            value,
            ties=choose,
            bound_is_exact=True,
        )
        order, length = found.plan()
        steps = np.where(np.isfinite(found.value), length, 1 << 30)
    late = np.flatnonzero(steps > horizon)
    for part in _parts(late):
        problems = Problems(part, np.zeros(len(part), int), horizon[part])
        value[part] = _within(chunk, to_go, discount, problems)
        found = search(chunk, to_go, discount, problems, value[part], ties=choose)
        order[part], steps[part] = found.plan()
    q = None
    if q_values:
        roots = np.repeat(np.arange(1, 6), b)
        after = at_roots[1:].copy()
        _, length = greedy_plan(chunk, to_go, discount, roots)
        length = length.reshape(5, b)
        action, late = np.nonzero((length > horizon - 1) & (horizon >= 1))
        for part in _parts(np.arange(len(late))):
            lane, root = late[part], action[part] + 1
            problems = Problems(lane, root, horizon[lane] - 1)
            after[action[part], lane] = _within(chunk, to_go, discount, problems)
        q = np.where(horizon >= 1, discount * after, 0.0).T
    return value, q, order, steps


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """Problems to search side by side, few enough for their labels to fit."""
    return np.array_split(rows, -(-len(rows) // SEARCHES)) if len(rows) else []


def _within(
    chunk: Chunk, to_go: np.ndarray, discount: float, problems: Problems
) -> np.ndarray:
    """Best value within a horizon that may bind: float64[p]."""
    lower = np.full(len(problems.lane), -np.inf)
    quick = search(chunk, to_go, discount, problems, lower, width=BEAM)
    return search(chunk, to_go, discount, problems, quick.value).value


def _nothing_to_do(n: int, q_values: bool) -> Solution:
    """Levels that are complete before the first step, or have no items."""
    zero = np.zeros(n, np.int64)
    return Solution(
        value=np.zeros(n),
        q=np.zeros((n, 5)) if q_values else None,
        first_actions=np.ones((n, 5), bool) if q_values else None,
        actions=np.zeros((n, 0), np.int8),
        steps=zero,
        keys=zero,
        chests=zero,
        excess=zero,
        order=np.zeros((n, 0), np.int32),
    )


def _gather(
    n: int, horizon: int, with_q: bool, work: list, solutions: list[Solution]
) -> Solution:
    """Put the parts back in the order of the levels."""
    widest = max([0, *(s.order.shape[1] for s in solutions)])
    whole = {
        "value": np.zeros(n),
        "q": np.zeros((n, 5)) if with_q else None,
        "first_actions": np.ones((n, 5), bool) if with_q else None,
        "actions": np.full((n, horizon), 4, np.int8),
        "steps": np.zeros(n, np.int64),
        "keys": np.zeros(n, np.int64),
        "chests": np.zeros(n, np.int64),
        "excess": np.zeros(n, np.int64),
        "order": np.full((n, widest), -1, np.int32),
    }
    for (_, rows), part in zip(work, solutions, strict=True):
        for name, target in whole.items():
            if target is None:
                continue
            source = getattr(part, name)
            if target.ndim == 2:
                target[rows, : source.shape[1]] = source
            else:
                target[rows] = source
    return Solution(**whole)
