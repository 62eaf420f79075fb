"""Upper bounds on what any plan can be worth, for levels of any size.

Three things are relaxed, each of which can only help the agent: legs have their plain
shortest length (nothing need be avoided, so an item with a negative reward is taken
only if wanted); an item may be visited again, though not right after the item that
followed it; and the time of an event is a lower bound. What stays: how many keys are
taken and chests opened, that a chest needs a key in hand, which key is in excess (it
depends on the number taken alone), and the deadline.

Every visited item needs an incoming leg, so r events take at least as long as the r
shortest edges that form no cycle (Kruskal 1956): the path to them is such a set.

Source: own; state-space relaxation is Christofides, Mingozzi & Toth (1981), the ban on
immediate returns Houck et al. (1980).
"""

from dataclasses import dataclass

import numpy as np

from malgen.planning import distances
from malgen.planning.problem import LevelBatch, Weights

NO_PATH = 1 << 20
"""Steps that stand for "cannot be reached"."""


@dataclass(frozen=True, eq=False)
class Field:
    """Levels of one kind, measured; b levels, m items, keys first."""

    levels: LevelBatch
    num_keys: int
    num_chests: int
    held: int
    items: np.ndarray
    """int[m, b, 2], cells of the items."""
    first: np.ndarray
    """int32[m, b], plain steps from the start, at least 1."""
    between: np.ndarray
    """int32[m, m, b], plain steps between items, at least 1."""
    reward: np.ndarray
    """float64[m, b], reward of each item when not in excess."""
    excess: float
    """Further reward of a key in excess."""
    last_chest: int
    """How many chests can be opened; the world may end then."""

    @property
    def enough(self) -> int:
        """Keys after which every further one is in excess."""
        return max(0, self.num_chests - self.held)


def measure(
    levels: LevelBatch, weights: Weights, num_keys: int, num_chests: int, held: int
) -> Field:
    """Distances and rewards of levels with equally many items."""
    b = len(levels)
    parts = [
        np.stack(np.nonzero(maps)[1:], 1).reshape(b, num, 2)
        for maps, num in ((levels.keys, num_keys), (levels.chests, num_chests))
    ]
    items = np.concatenate(parts, 1).swapaxes(0, 1)
    m = len(items)
    h, w = levels.walls.shape[1:]
    steps = distances.direct(
        levels.walls, np.concatenate([levels.start[None], items]), items
    )
    steps, far = distances.compact(steps, max(128, (h - 2) * (w - 2)))
    between = distances.through(steps[1:], range(m))
    first = distances.join(steps[:1], between, range(m))[0]

    def plain(distance: np.ndarray) -> np.ndarray:
        longer = np.maximum(distance.astype(np.int32), 1)
        return np.where(distance >= far, np.int32(NO_PATH), longer)

    at = (np.arange(b), items[..., 0], items[..., 1])
    reward = np.concatenate(
        [
            weights.key + weights.flagged * levels.flagged[at][:num_keys],
            weights.chest + weights.owned * levels.owned[at][num_keys:],
        ]
    )
    return Field(
        levels=levels,
        num_keys=num_keys,
        num_chests=num_chests,
        held=held,
        items=items,
        first=plain(first),
        between=plain(between),
        reward=reward.astype(np.float64),
        excess=weights.excess,
        last_chest=min(num_chests, held + num_keys),
    )


def least_time(field: Field) -> np.ndarray:
    """Steps that any r events take at least: int32[m + 1, b], row r.

    The r shortest edges of a minimum spanning tree over start and items: no set of r
    edges without a cycle is shorter, and the legs to r items are such a set.
    """
    m, b = field.first.shape
    lanes = np.arange(b)
    nearest = field.first.copy()
    outside = np.ones((m, b), bool)
    edges = np.zeros((m, b), np.int32)
    for i in range(m):
        item = np.where(outside, nearest, NO_PATH + 1).argmin(0)
        edges[i] = nearest[item, lanes]
        outside[item, lanes] = False
        np.minimum(nearest, field.between[item, :, lanes].T, out=nearest)
    edges.sort(0)
    total = np.concatenate([np.zeros((1, b), np.int64), edges.cumsum(0)])
    return np.minimum(total, NO_PATH).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """What the relaxation says of b levels."""

    high: np.ndarray
    """float64[b], no plan is worth more, objective units."""
    to_go: np.ndarray
    """float64[keys + 1, chests + 1, m, b], no plan earns more after having reached an
    item with so many keys taken and chests opened; weighted from that time on."""


def relax(
    field: Field, horizon: np.ndarray, discount: float, ends_on_completion: bool
) -> Relaxed:
    """Bound the value of every plan from above.

    Args:
        field: the levels.
        horizon: int[b], steps.
        discount: in (0, 1].
        ends_on_completion: whether nothing happens after the last openable chest.

    Returns:
        The bounds; nondecreasing in the horizon.
    """
    m, b = field.first.shape
    most_keys, most_chests = _counts(field)
    keys = np.arange(m) < field.num_keys
    floor = least_time(field)
    shape = (most_keys + 1, most_chests + 1, m, b)
    early = np.full(shape, NO_PATH, np.int32)
    early_else = np.full(shape, NO_PATH, np.int32)
    before = np.full(shape, -1, np.int16)

    def happens(a: int, c: int) -> bool:
        """Whether the agent may be there with more to come."""
        ended = ends_on_completion and c == field.last_chest
        return not ended and field.held + a - c >= 0

    cells = [(a, c) for a in range(most_keys + 1) for c in range(most_chests + 1)]
    everything = np.arange(m)
    for a, c in cells:
        if field.held + a - c < 0:
            continue  # more chests opened than keys had
        for kind, origin in ((keys, (a - 1, c)), (~keys, (a, c - 1))):
            items = everything[kind]
            if min(origin) < 0 or not happens(*origin) or not len(items):
                continue
            if sum(origin) == 0:
                early[a, c, items] = np.maximum(field.first[items], floor[1])
                continue
            came = before[origin][:, None] == items[None, :, None]
            time = np.where(came, early_else[origin][:, None], early[origin][:, None])
            time = time + field.between[:, items]
            time[items, np.arange(len(items))] = NO_PATH
            best, index, other = _two_best(time, np.minimum, NO_PATH)
            early[a, c, items] = np.clip(best, floor[a + c], NO_PATH)
            early_else[a, c, items] = np.clip(other, floor[a + c], NO_PATH)
            before[a, c, items] = index
    return _values(field, horizon, discount, happens, cells, early, floor)


def _counts(field: Field) -> tuple[int, int]:
    """Most keys and chests that can matter.

    With plain distances a visit that pays nothing can be left out (the triangle
    inequality), unless it brings the key for a chest.
    """
    worth = (
        field.reward
        + np.where(
            np.arange(len(field.reward)) < field.num_keys, max(0.0, field.excess), 0.0
        )[:, None]
    )
    pays = (worth[: field.num_keys] > 0).any()
    most_chests = field.last_chest
    if not (field.reward[field.num_keys :] > 0).any():
        most_chests = 0
    if pays:
        return field.num_keys, most_chests
    return min(field.num_keys, max(0, most_chests - field.held)), most_chests


def _two_best(values: np.ndarray, pick: np.ufunc, worst: float):
    """Best over the first axis, where it is, and the best of the others."""
    index = values.argmin(0) if pick is np.minimum else values.argmax(0)
    best = np.take_along_axis(values, index[None], 0)[0]
    np.put_along_axis(values, index[None], worst, 0)
    return best, index, pick.reduce(values, axis=0)


def _values(field, horizon, discount, happens, cells, early, floor) -> Relaxed:
    """Backward over counts: value to go from any time, and absolute value."""
    m, b = field.first.shape
    keys = np.arange(m) < field.num_keys
    most_keys, most_chests = (size - 1 for size in early.shape[:2])
    longest = int(horizon.max(initial=0))
    power = discount ** np.arange(-1, longest + 1, dtype=np.float64)
    to_go = np.zeros(early.shape)
    other = np.zeros(early.shape)
    following = np.full(early.shape, -1, np.int16)
    # the same in absolute time, where every event is at its earliest
    late_value, late_other = np.zeros(early.shape), np.zeros(early.shape)
    late_following = np.full(early.shape, -1, np.int16)

    def extended(a: int, c: int, items: np.ndarray, legs, arrival, came):
        """Worth of going to each item next, both ways: float64[l, q, b]."""
        gain = field.reward[items]
        if keys[items[0]] and a > field.enough:
            gain = gain + field.excess
        at = (a, c, items)
        there = np.where(following[at] == came, other[at], to_go[at])
        arrival = np.maximum(arrival, floor[a + c])
        ok = arrival <= horizon
        legs = np.where(ok, legs, 1)
        worth = power[legs] * (gain + discount * there)
        there = np.where(late_following[at] == came, late_other[at], late_value[at])
        # earlier than it is, a loss would look larger: it is left out instead
        gain = gain if discount == 1 else np.maximum(gain, 0.0)
        absolute = power[np.where(ok, arrival, 0)] * gain + there
        return np.where(ok, worth, -np.inf), np.where(ok, absolute, -np.inf)

    def ways_on(a: int, c: int, legs, arrival, came):
        """Keys and chests that can be next, with their worth."""
        found = []
        for kind, then in ((keys, (a + 1, c)), (~keys, (a, c + 1))):
            items = np.flatnonzero(kind)
            if not len(items) or then[0] > most_keys or then[1] > most_chests:
                continue
            if then[1] > c and field.held + a - c <= 0:
                continue
            time = arrival[:, None] + legs[:, items]
            found.append((items, *extended(*then, items, legs[:, items], time, came)))
        return found

    def settle(found, sources: int):
        worth = np.full((m, sources, b), -np.inf)
        absolute = np.full((m, sources, b), -np.inf)
        for items, one, two in found:
            worth[items] = one.swapaxes(0, 1)
            absolute[items] = two.swapaxes(0, 1)
        if sources == m:
            diagonal = np.arange(m)
            worth[diagonal, diagonal] = -np.inf
            absolute[diagonal, diagonal] = -np.inf
        return worth, absolute

    came = np.arange(m)[:, None, None]
    for a, c in reversed(cells):
        if a + c == 0 or not happens(a, c):
            continue
        found = ways_on(a, c, field.between, early[a, c], came)
        if not found:
            continue
        worth, absolute = settle(found, m)
        best, index, second = _two_best(worth, np.maximum, -np.inf)
        to_go[a, c] = np.maximum(best, 0.0)
        other[a, c] = np.maximum(second, 0.0)
        following[a, c] = np.where(best > 0, index, -1)
        cap = power[np.minimum(early[a, c], longest) + 1] * to_go[a, c]
        best, index, second = _two_best(absolute, np.maximum, -np.inf)
        late_value[a, c] = np.minimum(np.maximum(best, 0.0), cap)
        late_other[a, c] = np.minimum(np.maximum(second, 0.0), cap)
        late_following[a, c] = np.where(best > 0, index, -1)
    high = np.zeros(b)
    if happens(0, 0):
        none = np.full((1, 1, 1), -2)
        found = ways_on(0, 0, field.first[None], np.zeros((1, b), np.int32), none)
        if found:
            worth, absolute = settle(found, 1)
            high = np.minimum(worth.max((0, 1)), absolute.max((0, 1)))
    return Relaxed(np.maximum(high, 0.0), to_go)
