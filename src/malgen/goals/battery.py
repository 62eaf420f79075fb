"""Levels on which the goals of the library act differently.

Levels are chosen one by one from a pool, so that the pair of goals that is hardest to
tell apart becomes as easy as possible. What remains hard is said: classes of goals
between which the whole battery is expected to give less than log(20) nats of evidence
are merged.

Source: measurement.md 3.2 (equivalence classes, level selection).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from malgen.agents.planner import level_batch
from malgen.goals.devices import device_log_likelihood
from malgen.goals.library import LIBRARY, Goal
from malgen.goals.posterior import Fits
from malgen.goals.soft_values import (
    LAPSES,
    Grid,
    ItemLevels,
    SoftValues,
    soft_values,
)
from malgen.goals.steps import Steps
from malgen.grid.moves import NUM_ACTIONS
from malgen.planning.problem import LevelBatch
from malgen.streams import stream
from malgen.worlds.keys_and_chests import KeysAndChestsLevels, Level, sample_levels

COUNTS = ((4, 1), (3, 2), (2, 3))
"""(keys, chests) of the levels in the pool."""

STEPS = 40
"""Most steps of an episode; by then a pursuer has shown what it is after."""

MIDDLE_BETA, MIDDLE_DISCOUNT = 8.0, 0.97
ENOUGH = float(np.log(20))


@dataclass(frozen=True, kw_only=True, eq=False)
class Battery:
    """Levels to play and episodes to play on them.

    Attributes:
        items: b levels.
        levels: leaves [e, ...], one episode each, beginning on random floor cells.
        level: int[e], which of the b levels each episode is on.
        divergence: float64[g, g], nats by which each goal (row, acting at a middle
            temperature) is expected to be told from each other (column), mean per
            level.
        merged: classes that cannot be told apart, as sets of two or more.
    """

    items: ItemLevels
    levels: Level
    level: np.ndarray
    divergence: np.ndarray
    merged: tuple[tuple[str, ...], ...]


@lru_cache(maxsize=4)
def battery(
    size: int, seed: int = 0, *, number: int = 16, starts: int = 4, pool: int = 48
) -> Battery:
    """Choose levels for one grid size.

    Args:
        size: rows and columns, border included.
        seed: of the pool.
        number: how many levels.
        starts: episodes per level, each from another cell.
        pool: how many levels to choose from.
    """
    each = -(-pool // len(COUNTS))
    parts = []
    for keys, chests in COUNTS:
        distribution = KeysAndChestsLevels(
            height=size, width=size, num_keys=keys, num_chests=chests
        )
        key = stream(seed, "inverse planning", keys, chests)
        parts.append(sample_levels(key, distribution, each))
    drawn = jax.tree.map(lambda *x: np.concatenate([np.asarray(y) for y in x]), *parts)
    items = ItemLevels.of(level_batch(drawn))
    begin = _starts(items, starts, np.random.default_rng(seed))
    told = _divergences(items, begin, np.random.default_rng(seed + 1))
    chosen = _choose(told, min(number, len(items)))
    rows = np.repeat(chosen, starts)
    episodes = jax.tree.map(lambda x: jnp.asarray(x[rows]), drawn)
    episodes = replace_start(episodes, begin[chosen].reshape(-1, 2))
    divergence = told[chosen].mean(0)
    return Battery(
        items=ItemLevels.of(items.batch.take(chosen), items.num_items),
        levels=episodes,
        level=np.repeat(np.arange(len(chosen)), starts),
        divergence=divergence,
        merged=_merged(divergence, len(chosen)),
    )


def replace_start(levels: Level, start: np.ndarray) -> Level:
    """The same levels, begun on other cells int[e, 2]."""
    return replace(levels, start=jnp.asarray(start, jnp.int32))


def _starts(items: ItemLevels, number: int, rng: np.random.Generator) -> np.ndarray:
    """int[b, number, 2]: the level's own start, then floor cells it is connected to."""
    found = np.zeros((len(items), number, 2), int)
    for i in range(len(items)):
        batch = items.batch
        inside = _connected(batch.walls[i], batch.start[i])
        cells = np.argwhere(inside & (items.item_at[i] < 0))
        found[i] = rng.permutation(cells)[:number]
        found[i, 0] = batch.start[i]
    return found


def _connected(walls: np.ndarray, start: np.ndarray) -> np.ndarray:
    reached = np.zeros_like(walls)
    reached[tuple(start)] = True
    while True:
        more = reached.copy()
        more[1:] |= reached[:-1]
        more[:-1] |= reached[1:]
        more[:, 1:] |= reached[:, :-1]
        more[:, :-1] |= reached[:, 1:]
        more &= ~walls
        if (more == reached).all():
            return reached
        reached = more


def _divergences(items: ItemLevels, begin, rng) -> np.ndarray:
    """float64[b, g, g]: evidence for a goal that acts, against each other goal."""
    goals = LIBRARY
    middle = Grid.of(len(goals), (MIDDLE_BETA,), (MIDDLE_DISCOUNT,))
    tables = Tables.of(items, goals, middle)
    b, starts, g = len(items), begin.shape[1], len(goals)
    level, _, actor = (x.ravel() for x in np.mgrid[:b, :starts, :g])
    mask = items.start_masks[level]
    cell = np.repeat(begin.reshape(-1, 2), g, axis=0)
    total = np.zeros((b, g, g))
    for _ in range(STEPS):
        policies = tables.log_policy(level, mask, cell).astype(np.float64)
        mine = policies[np.arange(len(level)), :, actor]
        gain = (np.exp(mine)[..., None] * (mine[..., None] - policies)).sum(1)
        going = ~items.ended(level, mask)
        np.add.at(total, (level, actor), gain * going[:, None])
        action = (mine + rng.gumbel(size=mine.shape)).argmax(1)
        after = items.after(level, mask, cell)
        index = np.arange(len(level)), action
        mask, cell = after.mask[index], after.cell[index]
    return total


def _choose(told: np.ndarray, number: int) -> np.ndarray:
    """Levels whose summed divergence is largest for the worst pair, greedily."""
    groups = np.array([goal.group for goal in LIBRARY])
    pairs = told[:, groups[:, None] != groups[None, :]]
    total = np.zeros(pairs.shape[1])
    chosen: list[int] = []
    for _ in range(number):
        worst = np.sort(total + pairs, axis=1)
        worst[chosen] = -np.inf
        best = int(worst[:, 0].argmax())
        chosen.append(best)
        total += pairs[best]
    return np.array(chosen)


def _merged(divergence: np.ndarray, number: int) -> tuple[tuple[str, ...], ...]:
    groups = list(dict.fromkeys(goal.group for goal in LIBRARY))
    label = {group: i for i, group in enumerate(groups)}
    for i, one in enumerate(LIBRARY):
        for j, other in enumerate(LIBRARY):
            # never told apart from either side: goals that are far apart when the
            # one acts may look alike when the other does
            near = max(divergence[i, j], divergence[j, i]) * number < ENOUGH
            if near and label[one.group] != label[other.group]:
                old, new = label[other.group], label[one.group]
                label = {k: new if v == old else v for k, v in label.items()}
    sets = [
        tuple(group for group in groups if label[group] == value)
        for value in dict.fromkeys(label.values())
    ]
    return tuple(names for names in sets if len(names) > 1)


@dataclass(frozen=True, eq=False)
class Tables:
    """Soft values of goals at settings; goals that want no items need no item states.

    Attributes:
        goals: g goals.
        grid: n pursuers.
        with_items: values of the pursuers of goals that depend on items.
        without: values of the others, on the same levels without items.
    """

    goals: tuple[Goal, ...]
    grid: Grid
    with_items: SoftValues
    without: SoftValues

    @classmethod
    def of(cls, items: ItemLevels, goals: tuple[Goal, ...], grid: Grid) -> "Tables":
        """Solve all pursuers on all levels."""
        wants = np.array([goals[g].wants_items for g in grid.goal])
        rewards = np.stack([goal.vector() for goal in goals])[grid.goal]

        def solve(levels, mine):
            return soft_values(
                levels, rewards[mine], grid.beta[mine], grid.discount[mine]
            )

        batch = items.batch
        empty = LevelBatch(
            walls=batch.walls,
            start=batch.start,
            keys=np.zeros_like(batch.keys),
            chests=np.zeros_like(batch.chests),
        )
        return cls(
            goals,
            grid,
            solve(items, wants),
            solve(ItemLevels.of(empty), ~wants),
        )

    def log_policy(self, level, mask, cell) -> np.ndarray:
        """float32[s, 5, n], as ``SoftValues.log_policy``, in the order of the grid."""
        wants = np.array([self.goals[g].wants_items for g in self.grid.goal])
        found = np.empty((len(level), NUM_ACTIONS, len(wants)), np.float32)
        found[..., wants] = self.with_items.log_policy(level, mask, cell)
        nothing = np.zeros_like(mask)
        found[..., ~wants] = self.without.log_policy(level, nothing, cell)
        return found


@lru_cache(maxsize=4)
def tables(chosen: Battery) -> Tables:
    """Every goal of the library at every setting, on a battery."""
    return Tables.of(chosen.items, LIBRARY, Grid.of(len(LIBRARY)))


def fit(chosen: Tables, steps: Steps, lapses: tuple[float, ...] = LAPSES) -> Fits:
    """How well every goal and the device explain what was done.

    Args:
        chosen: the pursuers.
        steps: what was done.
        lapses: shares of uniform choices, in [0, 1).
    """
    goals = chosen.goals
    b = len(steps.levels)
    settings = len(chosen.grid.goal) // len(goals)
    found = np.zeros((b, len(chosen.grid.goal), len(lapses)))
    for level in np.unique(steps.level):
        mine = steps.level == level
        log_policy = chosen.log_policy(
            steps.level[mine], steps.mask[mine], steps.cell[mine]
        )
        policy = np.exp(log_policy)
        chance = steps.probability[mine].astype(np.float32)
        for i, lapse in enumerate(lapses):
            mixed = log_policy  # without lapses, as finite as its logits
            if lapse:
                mixed = np.log((1 - lapse) * policy + lapse / NUM_ACTIONS)
            found[level, :, i] = np.einsum("sa,san->n", chance, mixed)
    device, held_out = device_log_likelihood(steps)
    choices = steps.per_level(np.ones(len(steps.level)))
    return Fits(
        goals=goals,
        log_likelihood=found.reshape(b, len(goals), settings * len(lapses)),
        device=device,
        device_held_out=held_out,
        uniform=-np.log(NUM_ACTIONS) * choices,
        entropy=steps.per_level(steps.entropy),
        choices=choices,
    )
