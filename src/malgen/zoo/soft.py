"""Planted pursuers: soft-rational agents whose goal and temperature are known.

Source: measurement.md 3.2, 8 (G1).
"""

from dataclasses import dataclass, field

import numpy as np

from malgen.agents.planner import batch_from
from malgen.goals.library import Goal
from malgen.goals.soft_values import ItemLevels, SoftValues, soft_values
from malgen.grid.moves import NUM_ACTIONS
from malgen.planning.problem import LevelBatch
from malgen.types import HostPolicy
from malgen.zoo.card import Card


@dataclass(kw_only=True)
class SoftAgent(HostPolicy):
    """Acts as the soft-rational model of a goal says.

    It tabulates every level that it sees for the first time, with all states that can
    follow, and remembers the tables.

    Args:
        goal: what it is after.
        beta: inverse temperature, 1 / reward units, > 0.
        discount: in (0, 1).
        lapse: share of choices that are uniform instead, in [0, 1].

    Raises:
        NotMeasurable: when it acts on a level with more than 6 items.
    """

    goal: Goal
    beta: float
    discount: float = 0.97
    lapse: float = 0.0
    name: str = ""
    memoryless: bool = True
    _tables: list[SoftValues] = field(default_factory=list, repr=False)
    _known: dict[bytes, tuple[int, int, int]] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.name = self.name or f"soft-{self.goal.name}-{self.beta:g}"

    def act(self, rng, observations, carry):
        """Log-probabilities of the soft policy."""
        batch = batch_from(np.asarray(observations))
        if not self.goal.wants_items:
            batch = _without_items(batch)
        keys = _keys(batch)
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            self._solve(batch.take(np.array(list(new.values()))))
        logits = np.zeros((len(batch), NUM_ACTIONS), np.float32)
        found = np.array([self._known[key] for key in keys]).reshape(-1, 3)
        for table in np.unique(found[:, 0]):
            mine = np.flatnonzero(found[:, 0] == table)
            level, mask = found[mine, 1], found[mine, 2]
            rows = self._tables[table].log_policy(level, mask, batch.start[mine])
            logits[mine] = rows[..., 0]
        if self.lapse > 0:
            mixed = (1 - self.lapse) * np.exp(logits) + self.lapse / NUM_ACTIONS
            logits = np.log(mixed)
        return logits, carry

    def _solve(self, batch: LevelBatch) -> None:
        """Tabulate levels; repeats make their number one of few, for the compiler."""
        size = 1 << (len(batch) - 1).bit_length()
        rows = np.minimum(np.arange(size), len(batch) - 1)
        levels = ItemLevels.of(batch.take(rows))
        weights = self.goal.vector()[None]
        beta, discount = np.array([self.beta]), np.array([self.discount])
        values = soft_values(levels, weights, beta, discount, threads=1)
        self._tables.append(values)
        masks = levels.masks()
        for i in range(len(batch)):
            possible = np.unique(masks[i])
            for mask, key in zip(
                possible, _after_masks(levels, i, possible), strict=True
            ):
                self._known.setdefault(key, (len(self._tables) - 1, i, int(mask)))


def _keys(batch: LevelBatch) -> list[bytes]:
    """What a table depends on: everything but the agent's cell."""
    return _packed(batch.walls, batch.keys, batch.chests, batch.held)


def _after_masks(levels: ItemLevels, i: int, masks: np.ndarray) -> list[bytes]:
    """Keys of the states of a level in which the items of these masks are gone."""
    gone = masks[:, None] >> np.arange(levels.num_items) & 1 == 1
    keys, chests = np.zeros((2, len(masks), *levels.batch.walls.shape[1:]), bool)
    for j in np.flatnonzero(levels.present[i]):
        row, column = levels.cells[i, j]
        (keys if levels.is_key[i, j] else chests)[:, row, column] = ~gone[:, j]
    walls = np.broadcast_to(levels.batch.walls[i], keys.shape)
    return _packed(walls, keys, chests, levels.held(np.full(len(masks), i), masks))


def _packed(walls, keys, chests, held) -> list[bytes]:
    maps = np.stack([walls, keys, chests], 1)
    rows = np.packbits(maps.reshape(len(held), -1), axis=1)
    return [
        int(number).to_bytes(4, "little") + row.tobytes()
        for number, row in zip(held, rows, strict=True)
    ]


def _without_items(batch: LevelBatch) -> LevelBatch:
    return LevelBatch(
        walls=batch.walls,
        start=batch.start,
        keys=np.zeros_like(batch.keys),
        chests=np.zeros_like(batch.chests),
    )


def card_of(goal: Goal) -> Card:
    """The card of a planted pursuer: it holds values, not candidates."""
    return Card(
        family="soft-rational",
        goal=goal.group,
        process="draws actions from a table of soft values computed beforehand",
        search_space=None,
        search_process=None,
        explicit_objective=True,
        why="The goal is a vector of weights that the same machinery would replace; "
        "the search is done when the table is made, not when it acts.",
    )
