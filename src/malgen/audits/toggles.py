"""Single walls that decide which way is best: found exactly, many levels at once.

A level here has one key and one chest, and the agent is empty-handed, so that every
goal of the library begins with a shortest way to the key. Taking one wall out or
putting one in is *pivotal* when no first move that was optimal before is optimal
after. Only two kinds of cell can be pivotal, so only they are searched: a wall behind
which a shorter way would begin, and a floor cell that every shortest way crosses.

Source: measurement.md 4.3, 4.4.
"""

from dataclasses import dataclass, fields, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from malgen.agents.symmetry import ACTIONS_BACK, ORDER, turn
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.planning.distances import pack, place, steps_to
from malgen.planning.problem import LevelBatch
from malgen.worlds.keys_and_chests import Level

FAR = 1 << 13
"""Stands for "no path"."""
_MOVES = np.asarray(DELTAS)[:STAY]


@dataclass(frozen=True, kw_only=True)
class Toggles:
    """n pairs of a level and the same level with the wall of one cell changed.

    Attributes:
        walls: bool[n, s, s], before.
        start: int[n, 2], the agent.
        keys: bool[n, s, s].
        chests: bool[n, s, s].
        held: int[n], keys in hand.
        cell: int[n, 2], the cell whose wall is changed.
        distance: int[n], steps from the agent to ``cell``, in whichever of the two
            levels it is floor.
        before: bool[n, 5], optimal first actions.
        after: bool[n, 5], optimal first actions with the wall changed.
        level: int[n], the level's number; pairs of one level are not independent.
    """

    walls: Bool[np.ndarray, "n s s"]
    start: Int[np.ndarray, "n 2"]
    keys: Bool[np.ndarray, "n s s"]
    chests: Bool[np.ndarray, "n s s"]
    held: Int[np.ndarray, " n"]
    cell: Int[np.ndarray, "n 2"]
    distance: Int[np.ndarray, " n"]
    before: Bool[np.ndarray, "n 5"]
    after: Bool[np.ndarray, "n 5"]
    level: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.distance)

    def take(self, rows: np.ndarray) -> "Toggles":
        """The pairs at ``rows``."""
        return Toggles(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def batch(self, changed: bool) -> LevelBatch:
        """The levels before the change, or after it, as the planner takes them."""
        return LevelBatch(
            walls=toggled(self.walls, self.cell) if changed else self.walls,
            start=self.start,
            keys=self.keys,
            chests=self.chests,
            held=self.held,
        )

    def levels(self, changed: bool) -> Level:
        """The levels (leaves [n, ...]) before the change, or after it."""
        batch = self.batch(changed)
        return Level(
            walls=jnp.asarray(batch.walls),
            start=jnp.asarray(batch.start.astype(np.int32)),
            keys=jnp.asarray(batch.keys),
            chests=jnp.asarray(batch.chests),
            flagged=jnp.asarray(batch.flagged),
            owned=jnp.asarray(batch.owned),
            held=jnp.asarray(batch.held.astype(np.int32)),
        )

    def balanced(self) -> "Toggles":
        """The same pairs, turned and mirrored: pair i by symmetry i modulo 8.

        A preference for a side or for going on then cannot pass for foresight.
        """
        parts = [self.take(np.arange(g, len(self), ORDER)) for g in range(ORDER)]
        turned = joined([_turned(part, g) for g, part in enumerate(parts)])
        order = np.concatenate([np.arange(g, len(self), ORDER) for g in range(ORDER)])
        return turned.take(np.argsort(order))


def _turned(pairs: Toggles, g: int) -> Toggles:
    cells = [one_cell(cell, pairs.walls.shape) for cell in (pairs.start, pairs.cell)]
    planes = np.stack([pairs.walls, *cells, pairs.keys, pairs.chests], -1)
    walls, start, cell, keys, chests = np.moveaxis(turn(planes, g), -1, 0)
    return replace(
        pairs,
        walls=walls,
        start=_cell_of(start),
        keys=keys,
        chests=chests,
        cell=_cell_of(cell),
        before=pairs.before[:, ACTIONS_BACK[g]],
        after=pairs.after[:, ACTIONS_BACK[g]],
    )


def one_cell(cell: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps bool[n, s, s] of the one cell int[n, 2] each."""
    found = np.zeros(shape, bool)
    found[np.arange(len(cell)), cell[:, 0], cell[:, 1]] = True
    return found


def cells(number: np.ndarray, width: int) -> np.ndarray:
    """Row and column int[n, 2] of cells counted row by row."""
    return np.stack([number // width, number % width], 1)


def _cell_of(where: np.ndarray) -> np.ndarray:
    flat = where.reshape(len(where), -1).argmax(1)
    return cells(flat, where.shape[2])


def joined(parts: list[Toggles]) -> Toggles:
    """All pairs of the parts, in order."""
    names = [f.name for f in fields(Toggles)]
    return Toggles(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def toggled(walls: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The walls bool[n, s, s] with the one cell int[n, 2] of each changed."""
    changed = walls.copy()
    at = (np.arange(len(walls)), cells[:, 0], cells[:, 1])
    changed[at] = ~changed[at]
    return changed


def steps_between(
    walls: Bool[np.ndarray, "n s s"],
    source: Int[np.ndarray, "n 2"],
    cells: Int[np.ndarray, "m n 2"],
) -> Int[np.ndarray, "m n"]:
    """Steps from one source per level to m cells; -1 where there is no path."""
    free = pack(~walls)
    steps = steps_to(free, place(source, free), np.zeros_like(free), cells)
    return np.where((cells == source).all(-1), 0, steps)


def distance_maps(
    walls: Bool[np.ndarray, "n s s"], source: Int[np.ndarray, "n 2"]
) -> Int[np.ndarray, "n s s"]:
    """Steps from one source per level to every cell; -1 in walls and without a path."""
    n, height, width = walls.shape
    grid = np.indices((height, width)).reshape(2, -1, 1).transpose(1, 2, 0)
    cells = np.broadcast_to(grid, (height * width, n, 2))
    return steps_between(walls, source, cells).T.reshape(walls.shape)


def first_moves(
    walls: Bool[np.ndarray, "n s s"],
    start: Int[np.ndarray, "n 2"],
    key: Int[np.ndarray, "n 2"],
    chest: Int[np.ndarray, "n 2"] | None = None,
) -> Bool[np.ndarray, "n 5"]:
    """First actions of the shortest ways to the key.

    Args:
        walls: border included.
        start: the agent.
        key: where it should go, another cell than the start.
        chest: must be reachable too, if given.

    Returns:
        A row is all False where there is no way.
    """
    cells = np.concatenate([start[None], start + _MOVES[:, None]])
    if chest is not None:
        cells = np.concatenate([cells, chest[None]])
    steps = steps_between(walls, key, cells)
    best = (steps[1 : 1 + STAY] == steps[0] - 1).T & (steps[0] > 0)[:, None]
    best &= (steps[1 : 1 + STAY] >= 0).T
    if chest is not None:
        best &= (steps[-1] >= 0)[:, None]
    return np.concatenate([best, np.zeros((len(best), NUM_ACTIONS - STAY), bool)], 1)


def place_items(
    rng: np.random.Generator, walls: Bool[np.ndarray, "n s s"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An agent, a key that it can reach, and a chest nearer to the key than to it.

    Returns:
        ``(good, start, key, chest)``: bool[n] levels where that is possible, and
        int[n, 2] cells, uniform among the possible ones.
    """
    start, some = _one_of(rng, ~walls)
    away = distance_maps(walls, start)
    key, reached = _one_of(rng, away > 0)
    from_key = distance_maps(walls, key)
    chest, beyond = _one_of(rng, (from_key > 0) & (from_key < away))
    return some & reached & beyond, start, key, chest


def _one_of(
    rng: np.random.Generator, where: Bool[np.ndarray, "n s s"]
) -> tuple[np.ndarray, np.ndarray]:
    """One cell int[n, 2] of each map, and bool[n] where there is one."""
    flat = where.reshape(len(where), -1)
    scores = np.where(flat, rng.random(flat.shape, np.float32), -1.0)
    cell = scores.argmax(1)
    return cells(cell, where.shape[2]), np.asarray(flat.any(1))


def search(
    rng: np.random.Generator,
    walls: Bool[np.ndarray, "n s s"],
    bins: np.ndarray,
    first_number: int = 0,
) -> tuple[Toggles, Toggles]:
    """Pivotal and irrelevant walls of levels with these walls and random items.

    Args:
        rng: places the items and picks the irrelevant cells.
        walls: border included.
        bins: int[k], the least distance of each bin, increasing.
        first_number: the number of the first level.

    Returns:
        All pivotal pairs; and in each bin of each level at most one pair, of a cell
        drawn uniformly, in which the optimal first actions stay the same. Levels
        whose random items do not fit are left out.
    """
    good, start, key, chest = place_items(rng, walls)
    number = first_number + np.flatnonzero(good)
    walls, start, key, chest = walls[good], start[good], key[good], chest[good]
    away, from_key = distance_maps(walls, start), distance_maps(walls, key)
    rows = np.arange(len(walls))
    near = through(away)
    shorter = near + through(from_key)
    opens = walls & (shorter < away[rows, key[:, 0], key[:, 1]][:, None, None])
    closes = bottlenecks(away, from_key, key)
    reach = np.where(walls, near, np.where(away < 0, FAR, away))
    for cell in (start, key, chest):
        closes[rows, cell[:, 0], cell[:, 1]] = False
        reach[rows, cell[:, 0], cell[:, 1]] = FAR
    reach[:, [0, -1]] = reach[:, :, [0, -1]] = FAR
    before = first_moves(walls, start, key)

    def pairs(level: np.ndarray, cell: np.ndarray, pivotal: bool) -> Toggles:
        changed = toggled(walls[level], cell)
        after = first_moves(changed, start[level], key[level], chest[level])
        if pivotal:
            kept = after.any(1) & ~(after & before[level]).any(1)
        else:
            kept = (after == before[level]).all(1)
        level, cell, after = level[kept], cell[kept], after[kept]
        shape = (len(level), *walls.shape[1:])
        return Toggles(
            walls=walls[level],
            start=start[level],
            keys=one_cell(key[level], shape),
            chests=one_cell(chest[level], shape),
            held=np.zeros(len(level), int),
            cell=cell,
            distance=reach[level, cell[:, 0], cell[:, 1]],
            before=before[level],
            after=after,
            level=number[level],
        )

    level, row, column = np.nonzero(opens | closes)
    found = pairs(level, np.stack([row, column], 1), True)
    others = []
    for low, high in zip(bins, [*bins[1:], FAR], strict=True):
        cell, some = _one_of(rng, (reach >= low) & (reach < high))
        others.append(pairs(np.flatnonzero(some), cell[some], False))
    return found, joined(others)


def bottlenecks(
    away: Int[np.ndarray, "n s s"],
    back: Int[np.ndarray, "n s s"],
    goal: Int[np.ndarray, "n 2"],
) -> Bool[np.ndarray, "n s s"]:
    """Cells that every shortest way crosses, both ends included.

    Args:
        away: steps from where the ways begin.
        back: steps from where they end.
        goal: where they end.
    """
    rows = np.arange(len(away))
    shortest = away[rows, goal[:, 0], goal[:, 1]][:, None, None]
    way = (away >= 0) & (back >= 0) & (away + back == shortest)
    at = np.where(way, away, 0) + (int(away.max(initial=0)) + 1) * rows[:, None, None]
    ways = np.bincount(at[way], minlength=int(at.max(initial=0)) + 1)
    return way & (ways[at] == 1)


def through(steps: np.ndarray) -> np.ndarray:
    """How far each inner cell is if it is entered from a neighbor; at most ``FAR``."""
    known = np.where(steps < 0, FAR, steps).astype(np.int16)
    found = np.full_like(known, FAR)
    inside = found[:, 1:-1, 1:-1]
    for shifted in (
        known[:, :-2, 1:-1],
        known[:, 2:, 1:-1],
        known[:, 1:-1, :-2],
        known[:, 1:-1, 2:],
    ):
        np.minimum(inside, shifted + 1, out=inside)
    return np.minimum(found, FAR)
