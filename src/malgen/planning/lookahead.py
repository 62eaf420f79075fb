"""What a planner that looks k events ahead would do first.

An event is an item taken: a key picked up or a chest opened. ``V_k`` of a state is the
most that can be earned with k more events, ``V_k = max(0, max_q discount**(d-1) *
(r_q + discount * V_{k-1}))`` over the next item q, d steps away; with all events it
is the exact value of ``malgen.planning.tours``. Source: measurement.md 4.5; the
recursion is that of ``malgen.planning.values``, cut off after k events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from malgen.errors import ConfigError
from malgen.planning import distances
from malgen.planning.graph import Graph, build
from malgen.planning.problem import MOVES, TOLERANCE, LevelBatch, Weights
from malgen.planning.tours import item_cells, lanes_at_once, measured
from malgen.planning.values import Chunk, backward, powers

NONE = -1
"""Stands for "no item": it stays."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What each depth of look-ahead thinks of each first item; n levels, m items.

    Items are numbered keys first, then chests, each by cell; levels with fewer than m
    items have cell -1 at the end.
    """

    depths: tuple[int | None, ...]
    """Events looked ahead, one entry per depth asked; None: all."""
    cells: np.ndarray
    """int32[n, m], cell (row * w + column) of each item; -1 for none."""
    distance: np.ndarray
    """int32[n, m], steps to the item on a way that takes no other; -1 for none."""
    worth: np.ndarray
    """float64[depths, n, m], value of taking the item first; -inf if it cannot be."""
    toward: np.ndarray
    """bool[n, m, 5], actions with which such a shortest way begins."""
    item: np.ndarray
    """int32[depths, n], the item taken first; -1: it stays."""

    @property
    def value(self) -> np.ndarray:
        """float64[depths, n], objective units."""
        return np.maximum(self.worth.max(2, initial=0.0), 0.0)

    def decided(self, depth: int) -> np.ndarray:
        """bool[n], whether no other item is as good and as near as the chosen one."""
        worth, item = self.worth[depth], np.maximum(self.item[depth], 0)[:, None]
        best = np.take_along_axis(worth, item, 1)
        near = self.distance == np.take_along_axis(self.distance, item, 1)
        return ((worth >= best - TOLERANCE) & near).sum(1) <= 1

    def chosen(self, depth: int) -> np.ndarray:
        """bool[n, 5], actions toward the item of the depth at this index."""
        rows = np.arange(len(self.cells))
        item = self.item[depth]
        return self.toward[rows, np.maximum(item, 0)] & (item != NONE)[:, None]


def look_ahead(
    levels: LevelBatch,
    weights: Weights,
    depths: Sequence[int | None],
    *,
    discount: float = 0.97,
    ends_on_completion: bool = True,
    crossing: bool = False,
) -> Choices:
    """Choose the first item by looking some number of events ahead, without a deadline.

    Of items of equal value the nearest is chosen, then the one listed first. So when
    nothing within the events looked at pays, it goes to the nearest item; only when
    nothing can ever pay does it stay.

    Args:
        levels: n levels; ``held`` may be positive.
        weights: event rewards, objective units.
        depths: how many events to look ahead, each at least 1; None: all of them.
        discount: in (0, 1).
        ends_on_completion: whether the episode ends when no more chest can be opened.
        crossing: take the shortest way to each next item whatever lies on it, and do
            not notice what is taken on the way. A simpler planner, and not exact.

    Returns:
        Values and choices at each depth.

    Raises:
        ConfigError: a depth below 1, or a discount outside (0, 1).
        NotMeasurable: too many items (``planning.graph.MAX_ITEMS``).

    Example:
        >>> grid = np.array([list(row) for row in ("########", "#k.A..kc", "########")])
        >>> grid = np.pad(grid, ((0, 0), (0, 1)), constant_values="#")[None]
        >>> items = dict(keys=grid == "k", chests=grid == "c")
        >>> start = np.argwhere(grid[0] == "A")
        >>> level = LevelBatch(walls=grid == "#", start=start, **items)
        >>> look_ahead(level, Weights(chest=1), (1, 2)).cells[0]
        array([10, 15, 16], dtype=int32)
        >>> look_ahead(level, Weights(chest=1), (1, 2)).item[:, 0]
        array([0, 1], dtype=int32)
    """
    depths = tuple(depths)
    if any(depth is not None and depth < 1 for depth in depths):
        raise ConfigError(f"depths={depths} has one below 1; look at least 1 ahead.")
    if not 0 < discount < 1:
        raise ConfigError(f"discount={discount} is not in (0, 1); give such a number.")
    n = len(levels)
    most = int((levels.keys | levels.chests).sum((1, 2)).max(initial=0))
    found = Choices(
        depths=depths,
        cells=np.full((n, most), -1, np.int32),
        distance=np.full((n, most), -1, np.int32),
        worth=np.full((len(depths), n, most), -np.inf),
        toward=np.zeros((n, most, len(MOVES)), bool),
        item=np.full((len(depths), n), NONE, np.int32),
    )
    for (num_keys, num_chests, held), rows in levels.groups().items():
        openable = min(num_chests, held + num_keys)
        if openable == 0 and (num_keys == 0 or ends_on_completion):
            continue
        graph = build(num_keys, num_chests, held, ends_on_completion, True)
        size = lanes_at_once(graph, levels.walls.shape[1:], discount, True)
        for part in np.array_split(rows, max(1, -(-len(rows) // size))):
            chunk, cells = _measured(graph, levels.take(part), weights, crossing)
            _fill(found, part, chunk, cells, levels, weights, discount, crossing)
    return found


def _measured(
    graph: Graph, levels: LevelBatch, weights: Weights, crossing: bool
) -> tuple[Chunk, np.ndarray]:
    """Distances and rewards of levels of one kind, and the cells of their items."""
    cells = item_cells(levels, graph)
    no_deadline = np.zeros(len(levels), np.int64)
    chunk = measured(graph, levels, weights, cells, no_deadline, 0.5, True)
    if not crossing:
        return chunk, cells
    m, b = cells.shape[:2]
    sets = chunk.distance.reshape(-1, 1 << m, b)
    # ways between two items that may cross all of them
    plain = sets[:, -1:]
    every = list(range(m))
    between = np.zeros((m, m, b), plain.dtype)
    numbers = distances.pair_numbers(m)
    for i in every:
        between[i] = plain[numbers[i], 0]
        between[i, i] = 0
    first = distances.join(chunk.first, between, every)
    table = np.broadcast_to(plain, sets.shape).reshape(-1, b)
    return replace(chunk, distance=table, first=first), cells


def _fill(
    found: Choices,
    rows: np.ndarray,
    chunk: Chunk,
    cells: np.ndarray,
    levels: LevelBatch,
    weights: Weights,
    discount: float,
    crossing: bool,
) -> None:
    graph = chunk.graph
    m = graph.num_items
    distance = chunk.first.astype(np.int32)
    here = distance[0]
    reachable = (here < chunk.far) & (graph.first >= 0)[:, None]
    toward = (distance[1:] == here - 1) & reachable
    if not crossing:
        # a move onto another item would take that one first
        items = np.arange(m)[:, None]
        toward &= (chunk.hit[1:, None] < 0) | (chunk.hit[1:, None] == items)
    found.cells[rows, :m] = (cells[..., 0] * levels.walls.shape[2] + cells[..., 1]).T
    found.distance[rows, :m] = np.where(reachable, here, -1).T
    found.toward[rows, :m] = toward.transpose(2, 1, 0)
    pays = _can_pay(graph, weights) & reachable.any(0)
    for i, depth in enumerate(found.depths):
        worth = _first_values(chunk, discount, depth)
        worth = np.where(reachable, worth, -np.inf)
        best = worth.max(0)
        tied = worth >= best - TOLERANCE
        nearest = np.where(tied & reachable, here, np.iinfo(np.int32).max).argmin(0)
        goes = pays & (best > -TOLERANCE)
        found.worth[i, rows, :m] = worth.T
        found.item[i, rows] = np.where(goes, nearest, NONE)


def _first_values(chunk: Chunk, discount: float, depth: int | None) -> np.ndarray:
    """Value of each item as the first one: float64[m, b]."""
    graph = chunk.graph
    to_go = backward(chunk, discount, depth)
    can = graph.first >= 0
    worth = chunk.reward.copy()
    worth[can] += discount * to_go[graph.first[can]]
    if chunk.excess and graph.held >= graph.num_chests:
        worth[: graph.num_keys] += chunk.excess
    return powers(discount, chunk.far)[chunk.first[0]] * worth


def _can_pay(graph: Graph, weights: Weights) -> bool:
    """Whether any event that is still possible could have a positive reward."""
    key = weights.key + max(0.0, weights.excess) + max(0.0, weights.flagged)
    chest = weights.chest + max(0.0, weights.owned)
    openable = min(graph.num_chests, graph.held + graph.num_keys)
    return (graph.num_keys > 0 and key > 0) or (openable > 0 and chest > 0)
