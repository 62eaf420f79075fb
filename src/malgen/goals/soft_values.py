"""How a soft-rational pursuer of each goal would act, in every state of small levels.

KL-to-uniform control with inverse temperature beta and discount gamma:

    Q(s, a) = w . psi(s, a) + gamma V(s'),   V(s) = log(mean_a exp(beta Q(s, a))) / beta

and pi(a | s) is proportional to exp(beta Q(s, a)). The mean, not the sum: with a sum
every further step would earn an entropy bonus and a pursuer would avoid finishing. The
pursuer does not expect the episode to end.

Which items are gone only ever grows, so the sets of gone items are solved one after the
other, from all to none. Within a set, what an action leads to depends on the cell it
arrives at, so four shifts of one map give all actions. A set is solved by Newton's
method: the present policy is evaluated by sweeps that are extrapolated (Aitken 1926),
then improved.

Sources: Todorov 2007; Fox, Pakman & Tishby 2016 (the model); measurement.md 3.2.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from malgen.errors import NotMeasurable
from malgen.goals.library import CELLS, FEATURES
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.planning.problem import LevelBatch

MAX_ITEMS = 6
"""Most items of a level."""

ROUND = 20  # sweeps that evaluate a policy before it is improved
MOST_ROUNDS = 60
CLOSE = 5e-4  # change of beta * V in a sweep at which a set of items is settled

_KEY, _EXCESS, _CHEST, _TOUCH, _STEP, _BUMP = range(6)


@dataclass(frozen=True, eq=False)
class ItemLevels:
    """Levels with few items, as tables of what every action does.

    A state is (level, mask, row, column); bit j of the mask says that item j is gone.
    Items are numbered keys first; bits of items that a level does not have are set
    from the start.

    Attributes:
        batch: the levels.
        cells: int[b, m, 2], row and column of each item; 0 for missing ones.
        is_key: bool[b, m].
        present: bool[b, m].
    """

    batch: LevelBatch
    cells: np.ndarray
    is_key: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, batch: LevelBatch, most: int | None = None) -> "ItemLevels":
        """Number the items.

        Args:
            batch: levels of one grid size.
            most: how many items to make room for; as many as there are if not given.

        Raises:
            NotMeasurable: a level has more than ``MAX_ITEMS`` items.
        """
        counts = batch.keys.sum((1, 2)) + batch.chests.sum((1, 2))
        found = int(counts.max(initial=0))
        if found > MAX_ITEMS:
            raise NotMeasurable(
                f"A level has {found} items, but soft values are tabulated for at most "
                f"{MAX_ITEMS}; use levels with fewer items."
            )
        m = found if most is None else most
        cells = np.zeros((len(batch), m, 2), np.int64)
        is_key, present = np.zeros((2, len(batch), m), bool)
        for i in range(len(batch)):
            keys, chests = np.argwhere(batch.keys[i]), np.argwhere(batch.chests[i])
            n = len(keys) + len(chests)
            cells[i, :n] = np.concatenate([keys, chests])
            is_key[i, : len(keys)] = True
            present[i, :n] = True
        return cls(batch, cells, is_key, present)

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def num_items(self) -> int:
        """Room for items, m."""
        return self.cells.shape[1]

    @cached_property
    def start_masks(self) -> np.ndarray:
        """int[b], the mask at the start: bits of items that a level does not have."""
        return (~self.present) @ (1 << np.arange(self.num_items))

    @cached_property
    def item_at(self) -> np.ndarray:
        """int[b, h, w], number of the item on a cell; -1 where there is none."""
        found = np.full(self.batch.walls.shape, -1)
        level, item = np.nonzero(self.present)
        row, column = self.cells[level, item].T
        found[level, row, column] = item
        return found

    @cached_property
    def cell_features(self) -> np.ndarray:
        """bool[b, len(CELLS), h, w]: the floor cell nearest to each named place."""
        b, h, w = self.batch.walls.shape
        rows, columns = np.mgrid[:h, :w]
        places = ((0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1))
        places = (*places, ((h - 1) / 2, (w - 1) / 2))
        found = np.zeros((b, len(CELLS), h * w), bool)
        floor = ~self.batch.walls.reshape(b, -1)
        for j, (row, column) in enumerate(places):
            away = np.abs(rows - row) + np.abs(columns - column)
            nearest = np.where(floor, away.ravel(), np.inf).argmin(axis=1)
            found[np.arange(b), j, nearest] = True
        return found.reshape(b, len(CELLS), h, w)

    def held(self, level: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """int[s], keys in hand; negative for masks that cannot occur."""
        gone = self._gone(mask) & self.present[level]
        keys = self.is_key[level]
        return self.batch.held[level] + (gone & keys).sum(-1) - (gone & ~keys).sum(-1)

    def chests_left(self, level: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """int[s], unopened chests."""
        left = ~self._gone(mask) & self.present[level] & ~self.is_key[level]
        return left.sum(-1)

    def ended(self, level: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """bool[s], whether no further chest can be opened."""
        keys = ~self._gone(mask) & self.present[level] & self.is_key[level]
        some_key = keys.any(-1) | (self.held(level, mask) > 0)
        return ~some_key | (self.chests_left(level, mask) == 0)

    def _gone(self, mask: np.ndarray) -> np.ndarray:
        return np.asarray(mask)[..., None] >> np.arange(self.num_items) & 1 == 1

    def masks(self) -> np.ndarray:
        """int[b, k], the masks that can occur, later ones first, padded by repeats."""
        every = np.arange(1 << self.num_items)[::-1]
        lists = []
        for i in range(len(self)):
            level = np.full(len(every), i)
            base = self.start_masks[i]
            possible = (every & base) == base
            possible &= self.held(level, every) >= 0
            lists.append(every[possible])
        longest = max(map(len, lists))
        return np.stack([np.pad(x, (0, longest - len(x)), "edge") for x in lists])

    def after(
        self, level: np.ndarray, mask: np.ndarray, cell: np.ndarray
    ) -> "Transitions":
        """What each action does.

        Args:
            level: int[s].
            mask: int[s].
            cell: int[s, 2].

        Returns:
            The transitions of the five actions.
        """
        wide = np.broadcast_to(level[:, None], (len(level), NUM_ACTIONS))
        to = cell[:, None, :] + DELTAS
        blocked = self.batch.walls[wide, to[..., 0], to[..., 1]]
        to = np.where(blocked[..., None], cell[:, None, :], to)
        row, column = to[..., 0], to[..., 1]
        item = self.item_at[wide, row, column]
        mask = np.broadcast_to(mask[:, None], wide.shape)
        held = np.broadcast_to(self.held(level, mask[:, 0])[:, None], wide.shape)
        left = self.chests_left(level, mask[:, 0])[:, None]
        there = (item >= 0) & (mask >> np.maximum(item, 0) & 1 == 0)
        is_key = self.is_key[wide, np.maximum(item, 0)] if self.num_items else there
        picks = there & is_key
        opens = there & ~is_key & (held > 0)
        features = np.zeros((*wide.shape, len(FEATURES)), np.float32)
        features[..., _KEY] = picks
        features[..., _EXCESS] = picks & (held >= left)
        features[..., _CHEST] = opens
        features[..., _TOUCH] = there & ~is_key & (held <= 0)
        features[..., _STEP] = np.arange(NUM_ACTIONS) != STAY
        features[..., _BUMP] = blocked & (np.arange(NUM_ACTIONS) != STAY)
        places = np.moveaxis(self.cell_features, 1, -1)
        features[..., _BUMP + 1 :] = places[wide, row, column]
        gone = np.where(picks | opens, 1 << np.maximum(item, 0), 0)
        return Transitions(mask | gone, to, features)


class Transitions(NamedTuple):
    """What the five actions do in each of s states.

    Attributes:
        mask: int[s, 5], items gone then.
        cell: int[s, 5, 2], where the agent is then.
        features: float32[s, 5, f], what happened (``library.FEATURES``).
    """

    mask: np.ndarray
    cell: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class SoftValues:
    """Soft values of n pursuers in every state that can occur.

    Attributes:
        levels: where.
        weights: float32[n, f], rewards of the features.
        beta: float32[n], inverse temperatures, 1 / reward units.
        discount: float32[n], in (0, 1).
        scaled: float32[b, 2**m, h, w, n], beta times the soft value; 0 on walls and in
            states that cannot occur.
    """

    levels: ItemLevels
    weights: np.ndarray
    beta: np.ndarray
    discount: np.ndarray
    scaled: np.ndarray

    def log_policy(
        self, level: np.ndarray, mask: np.ndarray, cell: np.ndarray
    ) -> np.ndarray:
        """Log-probability of every action for every pursuer.

        Args:
            level: int[s].
            mask: int[s].
            cell: int[s, 2].

        Returns:
            float32[s, 5, n].
        """
        after = self.levels.after(level, mask, cell)
        row, column = after.cell[..., 0], after.cell[..., 1]
        q = self.scaled[level[:, None], after.mask, row, column] * self.discount
        q += (after.features @ self.weights.T) * self.beta
        q -= q.max(1, keepdims=True)
        q -= np.log(np.exp(q).sum(1, keepdims=True))
        return q


def soft_values(
    levels: ItemLevels,
    weights: np.ndarray,
    beta: np.ndarray,
    discount: np.ndarray,
    threads: int = 2,
) -> SoftValues:
    """Solve the soft Bellman equation in every state of every level.

    Args:
        levels: b levels of m items.
        weights: float[n, f], rewards of the features for each of n pursuers.
        beta: float[n] > 0, inverse temperatures.
        discount: float[n] in (0, 1); pursuers are solved in one group per discount.
        threads: groups solved side by side.

    Returns:
        The values.

    Laws:
        At an infinite horizon equal to ``planning.dense.solve_dense`` with the same
        inverse temperature and ``ends_on_completion=False``.
    """
    weights, beta, discount = (
        np.asarray(x, np.float32) for x in (weights, beta, discount)
    )
    b, h, w = levels.batch.walls.shape
    scaled = np.zeros((b, 1 << levels.num_items, h, w, len(beta)), np.float32)
    problem = _problem(levels)

    def solve(gamma) -> None:
        mine = np.flatnonzero(discount == gamma)
        found = _solve(problem, weights[mine], beta[mine], gamma)
        scaled[:, :, 1:-1, 1:-1, mine] = np.asarray(found)

    with ThreadPoolExecutor(threads) as pool:
        # the longest first
        list(pool.map(solve, sorted(set(discount.tolist()), reverse=True)))
    return SoftValues(levels, weights, beta, discount, scaled)


class _Problem(NamedTuple):
    """Levels as arrays for the solver, without their border."""

    floor: np.ndarray  # bool[b, h, w]
    masks: np.ndarray  # int[b, k]
    cells: np.ndarray  # int[b, m, 2]
    item_maps: np.ndarray  # float32[b, m, h, w]
    is_key: np.ndarray  # bool[b, m]
    present: np.ndarray  # bool[b, m]
    held: np.ndarray  # int[b]
    places: np.ndarray  # float32[b, len(CELLS), h, w]


def _problem(levels: ItemLevels) -> _Problem:
    inner = (slice(None), slice(1, -1), slice(1, -1))
    item_at = levels.item_at[inner]
    numbers = np.arange(levels.num_items)[:, None, None]
    return _Problem(
        floor=~levels.batch.walls[inner],
        masks=levels.masks().astype(np.int32),
        cells=np.maximum(levels.cells - 1, 0).astype(np.int32),
        item_maps=(item_at[:, None] == numbers).astype(np.float32),
        is_key=levels.is_key,
        present=levels.present,
        held=levels.batch.held.astype(np.int32),
        places=levels.cell_features[:, :, 1:-1, 1:-1].astype(np.float32),
    )


@jax.jit
def _solve(problem: _Problem, weights, beta, gamma):
    """Beta * V: float32[b, 2**m, h, w, n] without the border."""
    b, h, w = problem.floor.shape
    m, n = problem.cells.shape[1], beta.shape[0]
    floor = problem.floor[..., None]
    ways = [_shifted(problem.floor, i, j, False)[..., None] for i, j in DELTAS[:STAY]]
    fixed = jnp.einsum(
        "bphw,np->bhwn", problem.places, weights[:, _BUMP + 1 :] * beta[:, None]
    )
    step, bump = weights[:, _STEP] * beta, weights[:, _BUMP] * beta
    levels = jnp.arange(b)
    bits = 1 << jnp.arange(m)

    def options_of(y, base, free):
        x = base + jnp.where(free, gamma * y, 0.0)
        return x, [
            jnp.where(way, _shifted(x, i, j, 0.0) + step, x + (step + bump))
            for way, (i, j) in zip(ways, DELTAS[:STAY], strict=True)
        ]

    def improve(y, base, free):
        """The backed-up values, and how likely each way is taken for them."""
        x, options = options_of(y, base, free)
        top = x
        for option in options:
            top = jnp.maximum(top, option)
        odds = [jnp.exp(option - top) for option in options]
        total = jnp.exp(x - top) + sum(odds)
        taken = [
            jnp.where(way, p / total, 0.0) for way, p in zip(ways, odds, strict=True)
        ]
        return jnp.where(floor, top + jnp.log(total / NUM_ACTIONS), 0.0), taken

    def settle(base, free):
        def going(carry):
            rounds, _, change, size = carry
            return (rounds < MOST_ROUNDS) & (change > CLOSE + 2e-7 * size)

        def go(carry):
            rounds, y, _, _ = carry
            backed_up, taken = improve(y, base, free)
            residual = backed_up - y
            here = 1.0 - sum(taken)

            # Newton's step: the value of always acting as now, by plain sweeps
            def evaluate(_, change):
                on = jnp.where(free, gamma * change, 0.0)
                moved = sum(
                    p * _shifted(on, i, j, 0.0)
                    for p, (i, j) in zip(taken, DELTAS[:STAY], strict=True)
                )
                return jnp.where(floor, residual + here * on + moved, 0.0)

            past = jax.lax.fori_loop(0, ROUND - 2, evaluate, residual)
            then = evaluate(0, past)
            last = evaluate(0, then)
            first, second = then - past, last - then
            rate = jnp.sum(first * second, (1, 2), keepdims=True) / (
                jnp.sum(first * first, (1, 2), keepdims=True) + 1e-20
            )
            rate = jnp.clip(rate, 0.0, gamma)
            guess = last + second * (rate / (1 - rate))
            better = evaluate(0, guess)
            # only where that lowers the residual, or it could go round in circles
            before = jnp.max(jnp.abs(second), (1, 2), keepdims=True)
            after = jnp.max(jnp.abs(better - guess), (1, 2), keepdims=True)
            y = y + jnp.where(after < before, better, last)
            return rounds + 1, y, jnp.max(jnp.abs(residual)), jnp.max(jnp.abs(y))

        # where something is earned in every step: the value of staying there for ever
        stays = (base - jnp.log(1.0 * NUM_ACTIONS)) / (1 - gamma)
        y = jnp.where(free & floor, jnp.maximum(stays, 0.0), 0.0)
        start = (0, y, jnp.inf, 0.0)
        return improve(jax.lax.while_loop(going, go, start)[1], base, free)[0]

    def one_mask(i, values):
        mask = problem.masks[:, i]
        gone = (mask[:, None] & bits) > 0
        taken = gone & problem.present & problem.is_key
        opened = gone & problem.present & ~problem.is_key
        held = problem.held + taken.sum(1) - opened.sum(1)
        chests = ~gone & ~problem.is_key
        takes = ~gone & (problem.is_key | (held > 0)[:, None])
        useless = (held >= chests.sum(1))[:, None, None]
        reward = jnp.where(
            problem.is_key[..., None],
            weights[:, _KEY] + jnp.where(useless, weights[:, _EXCESS], 0.0),
            weights[:, _CHEST],
        )
        then = values[
            levels[:, None],
            mask[:, None] | bits,
            problem.cells[..., 0],
            problem.cells[..., 1],
        ]
        arrival = jnp.where(takes[..., None], beta * reward + gamma * then, 0.0)
        touched = jnp.where(chests & (held <= 0)[:, None], 1.0, 0.0)
        arrival += touched[..., None] * (weights[:, _TOUCH] * beta)
        base = fixed + jnp.einsum("bmhw,bmn->bhwn", problem.item_maps, arrival)
        taking = jnp.einsum(
            "bmhw,bm->bhw", problem.item_maps, takes.astype(jnp.float32)
        )
        found = settle(base, (taking == 0)[..., None])
        return values.at[levels, mask].set(found)

    values = jnp.zeros((b, 1 << m, h, w, n), jnp.float32)
    return jax.lax.fori_loop(0, problem.masks.shape[1], one_mask, values)


def _shifted(x, row: int, column: int, fill):
    """What lies one move away: entry [b, r, c] is x[b, r + row, c + column]."""
    row, column = int(row), int(column)
    pad = [(0, 0, 0), (-row, row, 0), (-column, column, 0)] + [(0, 0, 0)] * (x.ndim - 3)
    return jax.lax.pad(jnp.asarray(x), jnp.asarray(fill, x.dtype), pad)


# The specification ends at 128, where the likelihood of exact planners on 13x13 peaked
# at the end and did not tell x from mixtures; the steps are those of its grid.
BETAS = np.geomspace(0.5, 512.0, 16)
DISCOUNTS = (0.9, 0.97, 0.99)
LAPSES = (0.005, 0.02, 0.1)


class Grid(NamedTuple):
    """The pursuers of a family of goals: every goal, temperature and discount."""

    goal: np.ndarray
    beta: np.ndarray
    discount: np.ndarray

    @classmethod
    def of(
        cls,
        num_goals: int,
        betas: Sequence[float] = tuple(BETAS),
        discounts: Sequence[float] = DISCOUNTS,
    ) -> "Grid":
        """All combinations, goals slowest, discounts fastest."""
        parts = np.meshgrid(np.arange(num_goals), betas, discounts, indexing="ij")
        return cls(*(part.ravel() for part in parts))
