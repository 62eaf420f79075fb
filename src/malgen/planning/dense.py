"""Exact values over all states and steps: the slow reference engine.

Every state (cell, keys taken, chests opened) gets a value for every number of steps
left, by backward induction (Bellman 1957). It knows nothing of tours, so it checks
them; and it alone gives soft values, for Boltzmann-rational agents that are pulled
towards uniformly random actions (KL-regularized control: Todorov 2007; Fox, Pakman
& Tishby 2016).
"""

from dataclasses import dataclass, fields

import numpy as np

from malgen.errors import ConfigError, NotMeasurable
from malgen.planning.problem import MOVES, TOLERANCE, LevelBatch, Weights

MAX_STATES = 1 << 16
"""Most states of one level."""

CHUNK_STATES = 1 << 16
"""States of all levels that are swept together."""

CLOSE = 1e-10
"""Actions whose values differ by no more are tied (objective units)."""


@dataclass(frozen=True, kw_only=True)
class DenseSolution:
    """Values of the start of each level."""

    value: np.ndarray
    """float64[n], optimal (or soft) discounted value, objective units."""
    q: np.ndarray
    """float64[n, 5], value of each first action, then optimal (or soft)."""
    first_actions: np.ndarray
    """bool[n, 5], first actions with the highest value."""
    least_excess: np.ndarray
    """int[n], least excess among optimal plans (0 for soft values)."""
    most_excess: np.ndarray
    """int[n], most excess among optimal plans that stop when nothing more can be
    earned (0 for soft values)."""


def solve_dense(
    levels: LevelBatch,
    weights: Weights,
    *,
    horizon: int | np.ndarray,
    discount: float = 1.0,
    ends_on_completion: bool = True,
    inverse_temperature: float | None = None,
) -> DenseSolution:
    """Solve levels by backward induction over all states.

    Args:
        levels: n levels with few items (about 8 on a 13x13 grid).
        weights: event rewards, objective units.
        horizon: steps until the episode is cut off, one number or int[n].
        discount: in (0, 1].
        ends_on_completion: whether the episode ends when no more chest can be opened.
        inverse_temperature: None for optimal values; otherwise beta > 0 of the soft
            value ``log(mean_a exp(beta * q_a)) / beta``, 1 / objective units.

    Returns:
        Values, first actions and the range of excess among optimal plans.

    Raises:
        ConfigError: an argument is out of range.
        NotMeasurable: a level has too many states.

    Laws:
        Equal to `malgen.planning.tours.solve`; the soft value tends to the optimal
        one as beta grows, and to the random policy's as beta goes to 0.
    """
    if not 0 < discount <= 1:
        raise ConfigError(f"discount={discount} is not in (0, 1]; give such a number.")
    if inverse_temperature is not None and not inverse_temperature > 0:
        raise ConfigError(
            f"inverse_temperature={inverse_temperature} is not positive; give a "
            "positive number, or None for optimal values."
        )
    n = len(levels)
    horizons = np.broadcast_to(np.asarray(horizon, np.int64), (n,))
    if (horizons < 0).any():
        raise ConfigError(f"horizon={horizon} is negative; give steps of at least 0.")
    result = DenseSolution(
        value=np.zeros(n),
        q=np.zeros((n, 5)),
        first_actions=np.ones((n, 5), bool),
        least_excess=np.zeros(n, np.int64),
        most_excess=np.zeros(n, np.int64),
    )
    num_cells = int((~levels.walls).sum((1, 2)).max(initial=1))
    counts = np.stack([levels.keys.sum((1, 2)), levels.chests.sum((1, 2))], 1)
    for num_keys, num_chests in np.unique(counts, axis=0):
        rows = np.flatnonzero((counts == (num_keys, num_chests)).all(1))
        states = num_cells << int(num_keys + num_chests)
        if states > MAX_STATES:
            raise NotMeasurable(
                f"A level with {num_keys} keys, {num_chests} chests and {num_cells} "
                f"cells has {states} states, but the dense engine handles at most "
                f"{MAX_STATES}; use fewer items, or the tours engine."
            )
        size = max(1, CHUNK_STATES // states)
        for low in range(0, len(rows), size):
            part = rows[low : low + size]
            model = _model(levels.take(part), weights, num_cells, ends_on_completion)
            solved = _sweep(model, horizons[part], discount, inverse_temperature)
            for field in fields(result):
                getattr(result, field.name)[part] = getattr(solved, field.name)
    return result


@dataclass(frozen=True, eq=False)
class _Model:
    """What each action does in each of the s states that occur in n levels."""

    following: np.ndarray
    """int[5, s], state after each action."""
    reward: np.ndarray
    """float64[5, s], objective units."""
    excess: np.ndarray
    """int8[5, s], 1 where a key is taken in excess."""
    ended: np.ndarray
    """bool[s]"""
    start: np.ndarray
    """int[n], initial state of each level."""


def _model(
    levels: LevelBatch, weights: Weights, num_cells: int, ends_on_completion: bool
) -> _Model:
    """Tabulate the rules for levels with equally many keys and chests."""
    n, h, w = levels.walls.shape
    num_keys, num_chests = int(levels.keys[0].sum()), int(levels.chests[0].sum())
    number = np.full((n, h, w), -1)
    key_at = np.full((n, num_cells), -1)
    chest_at = np.full((n, num_cells), -1)
    moved = np.tile(np.arange(num_cells), (n, 5, 1))
    key_reward = np.zeros((n, max(1, num_keys)))
    chest_reward = np.zeros((n, max(1, num_chests)))
    start = np.zeros(n, int)
    for i in range(n):
        cells = np.argwhere(~levels.walls[i])
        number[i][tuple(cells.T)] = np.arange(len(cells))
        start[i] = number[i][tuple(levels.start[i])]
        for action, move in enumerate(MOVES):
            to = number[i][tuple((cells + move).T)]
            moved[i, action, : len(cells)] = np.where(
                to >= 0, to, np.arange(len(cells))
            )
        keys, chests = np.argwhere(levels.keys[i]), np.argwhere(levels.chests[i])
        key_at[i, number[i][tuple(keys.T)]] = np.arange(num_keys)
        chest_at[i, number[i][tuple(chests.T)]] = np.arange(num_chests)
        key_reward[i, :num_keys] = (
            weights.key + weights.flagged * levels.flagged[i][tuple(keys.T)]
        )
        chest_reward[i, :num_chests] = (
            weights.chest + weights.owned * levels.owned[i][tuple(chests.T)]
        )
    # Axes: level, action, cell, keys taken, chests opened.
    taken = np.arange(1 << num_keys)[:, None]
    opened = np.arange(1 << num_chests)
    in_hand = (
        levels.held[:, None, None]
        + np.bitwise_count(taken).astype(int)
        - np.bitwise_count(opened).astype(int)
    )
    in_hand = in_hand[:, None, None]
    chests_left = num_chests - np.bitwise_count(opened).astype(int)
    keys_left = num_keys - np.bitwise_count(taken).astype(int)
    level = np.arange(n)[:, None, None]
    key = key_at[level, moved][..., None, None]
    chest = chest_at[level, moved][..., None, None]
    picks = (key >= 0) & ((taken >> np.maximum(key, 0) & 1) == 0)
    opens = (chest >= 0) & ((opened >> np.maximum(chest, 0) & 1) == 0) & (in_hand > 0)
    too_many = picks & (in_hand >= chests_left)
    level = np.arange(n)[:, None, None, None, None]
    reward = np.where(picks, key_reward[level, np.maximum(key, 0)], 0.0)
    reward = reward + weights.excess * too_many
    reward = reward + np.where(opens, chest_reward[level, np.maximum(chest, 0)], 0.0)
    then_taken = np.where(picks, taken | 1 << np.maximum(key, 0), taken)
    then_opened = np.where(opens, opened | 1 << np.maximum(chest, 0), opened)
    size = num_cells << num_keys + num_chests
    following = moved[..., None, None] << num_keys | then_taken
    following = (following << num_chests | then_opened) + level * size
    ended = np.zeros((n, num_cells, 1 << num_keys, 1 << num_chests), bool)
    if ends_on_completion:
        ended |= (chests_left == 0) | (in_hand[:, 0] + keys_left == 0)

    begin = np.arange(n) * size + (start << num_keys + num_chests)
    # Only states that can occur are swept.
    following = following.swapaxes(0, 1).reshape(5, -1)
    ended = ended.reshape(-1)
    occurs = np.zeros(n * size, bool)
    frontier = begin
    while len(frontier):
        occurs[frontier] = True
        after = following[:, frontier[~ended[frontier]]].reshape(-1)
        frontier = np.unique(after[~occurs[after]])
    kept = np.flatnonzero(occurs)
    number = np.cumsum(occurs) - 1
    following = np.where(ended[kept], np.arange(len(kept)), number[following[:, kept]])
    return _Model(
        following,
        reward.swapaxes(0, 1).reshape(5, -1)[:, kept],
        too_many.swapaxes(0, 1).reshape(5, -1)[:, kept].astype(np.int8),
        ended[kept],
        number[begin],
    )


def _sweep(
    model: _Model, horizons: np.ndarray, discount: float, beta: float | None
) -> DenseSolution:
    """Backward induction; levels with a shorter horizon are read off earlier."""
    n = len(horizons)
    value = np.zeros(model.following.shape[1])
    bounds = [np.zeros(len(value), np.int8) for _ in range(2)]
    chosen_q = np.zeros((n, 5))
    chosen = np.zeros((3, n))
    longest = int(horizons.max(initial=0))
    for left in range(1, longest + 1):
        before = value, *bounds
        q = value.take(model.following)
        q *= discount
        q += model.reward
        q[:, model.ended] = 0
        if beta is None:
            value = q.max(0)
            optimal = q >= value - CLOSE
            # Once nothing more can be earned the agent stays.
            earning = value > CLOSE
            later = [model.excess + bound.take(model.following) for bound in bounds]
            least = np.where(optimal, later[0], np.int8(127)).min(0)
            most = np.where(optimal, later[1], np.int8(-1)).max(0)
            bounds = [least * earning, most * earning]
        else:
            top = q.max(0)
            value = top + np.log(np.exp(beta * (q - top)).mean(0)) / beta
        after = value, *bounds
        settled = all(map(np.array_equal, before, after))
        now = horizons >= left if settled else horizons == left
        at = model.start[now]
        chosen_q[now] = q[:, at].T
        chosen[:, now] = value[at], bounds[0][at], bounds[1][at]
        if settled:
            break
    first = chosen_q >= chosen_q.max(1, keepdims=True) - TOLERANCE
    return DenseSolution(
        value=chosen[0],
        q=chosen_q,
        first_actions=first,
        least_excess=chosen[1].astype(np.int64),
        most_excess=chosen[2].astype(np.int64),
    )
