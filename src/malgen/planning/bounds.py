"""What a level is worth when it has too many items to be solved exactly: an interval.

``bound`` gives, for levels of any size, a value that no plan exceeds and a plan that
attains the value stated for it. ``attainable`` is exact wherever ``tours.solve`` is,
and an interval beyond.
"""

from dataclasses import dataclass, fields

import numpy as np

from malgen.errors import ConfigError, NotMeasurable
from malgen.planning.beam import search_beam
from malgen.planning.problem import TOLERANCE, LevelBatch, Weights
from malgen.planning.relaxation import measure, relax
from malgen.planning.replay import replay
from malgen.planning.tours import solve

WIDTH = 64
"""Plans kept per level in the search for a good one."""

EXACT = "exact"
BOUNDED = "between the best plan found (nearest useful item, beam) and a relaxation"

CELLS = 1 << 17
"""Numbers in the largest array of levels bounded together, per pair of counts."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Between which values the optimum of each of n levels lies.

    Laws: ``low <= optimum <= high``; ``low`` is the discounted return of playing
    ``actions``; ``low == high`` where ``exact``.
    """

    low: np.ndarray
    """float64[n], discounted return of ``actions``, objective units."""
    high: np.ndarray
    """float64[n], no plan is worth more."""
    actions: np.ndarray
    """int8[n, horizon], the plan; it stays after its last event."""
    exact: np.ndarray
    """bool[n], where the optimum is known."""

    @property
    def method(self) -> str:
        """How it was found, in words."""
        if self.exact.all():
            return EXACT
        return f"{BOUNDED} on {np.sum(~self.exact)} of {len(self.exact)} levels"


def attainable(
    levels: LevelBatch,
    weights: Weights,
    *,
    horizon: int | np.ndarray,
    discount: float = 1.0,
    ends_on_completion: bool = True,
) -> Bounds:
    """The optimum of each level: exact within the reach of `tours.solve`, else bounds.

    Args:
        levels: n levels.
        weights: event rewards, objective units.
        horizon: steps until the episode is cut off, one number or int[n].
        discount: in (0, 1].
        ends_on_completion: whether the episode ends when no more chest can be opened.

    Raises:
        ConfigError: an argument is out of range.
        NotMeasurable: a grid too large for any engine.
    """
    horizons = _horizons(levels, horizon, discount)
    found = []
    for rows in levels.groups().values():
        part, steps = levels.take(rows), horizons[rows]
        settings = {"discount": discount, "ends_on_completion": ends_on_completion}
        try:
            exact = solve(part, weights, horizon=steps, q_values=False, **settings)
        except NotMeasurable:
            found.append((rows, bound(part, weights, horizon=steps, **settings)))
            continue
        known = np.ones(len(rows), bool)
        value = exact.value
        found.append(
            (rows, Bounds(low=value, high=value, actions=exact.actions, exact=known))
        )
    return _gather(len(levels), int(horizons.max(initial=0)), found)


def bound(
    levels: LevelBatch,
    weights: Weights,
    *,
    horizon: int | np.ndarray,
    discount: float = 1.0,
    ends_on_completion: bool = True,
) -> Bounds:
    """Bound the optimum of each level, whatever its size.

    With negative event rewards (U, X minus excess, hoard) the upper bound is that of a
    relaxation in which unwanted items can always be walked around; it holds, but less
    tightly.

    Args:
        levels: n levels.
        weights: event rewards, objective units.
        horizon: steps until the episode is cut off, one number or int[n].
        discount: in (0, 1].
        ends_on_completion: whether the episode ends when no more chest can be opened.

    Raises:
        ConfigError: an argument is out of range.
        NotMeasurable: a grid wider than 64 cells or with more than 16383.

    Laws:
        ``high`` never falls as the horizon grows.

    Source: measurement.md 2.4, engine E3.

    Example:
        >>> grid = np.array([list(row) for row in ("#####", "#Akc#", "#####")])[None]
        >>> items = dict(keys=grid == "k", chests=grid == "c")
        >>> start = np.argwhere(grid[0] == "A")
        >>> level = LevelBatch(walls=grid == "#", start=start, **items)
        >>> found = bound(level, Weights(chest=1), horizon=9, discount=0.5)
        >>> found.low, found.high
        (array([0.5]), array([0.5]))
    """
    horizons = _horizons(levels, horizon, discount)
    found = []
    for (keys, chests, held), rows in levels.groups().items():
        items = max(1, keys + chests)
        at_once = int(np.clip(CELLS // items**2, 1, 128))
        for part in np.array_split(rows, -(-len(rows) // at_once)):
            one = _bound_kind(
                levels.take(part),
                weights,
                (keys, chests, held),
                horizons[part],
                discount,
                ends_on_completion,
            )
            found.append((part, one))
    return _gather(len(levels), int(horizons.max(initial=0)), found)


def _horizons(levels: LevelBatch, horizon, discount: float) -> np.ndarray:
    if not 0 < discount <= 1:
        raise ConfigError(f"discount={discount} is not in (0, 1]; give such a number.")
    horizons = np.broadcast_to(np.asarray(horizon, np.int64), (len(levels),))
    if (horizons < 0).any() or (horizons > 16000).any():
        raise ConfigError(
            f"horizon={horizon} is outside 0 to 16000 steps; give one inside."
        )
    return horizons


def _bound_kind(levels, weights, kind, horizon, discount, ends) -> Bounds:
    """Bounds for levels of one kind."""
    keys, chests, held = kind
    longest = int(horizon.max(initial=0))
    if keys + chests == 0 or (ends and min(chests, held + keys) == 0):
        return _nothing(len(levels), longest)
    field = measure(levels, weights, keys, chests, held)
    relaxed = relax(field, horizon, discount, ends)
    plans = [
        search_beam(field, relaxed, horizon, discount, ends, width=width, nearest=near)
        for width, near in ((WIDTH, False), (1, True))
    ]
    value = np.stack([plan.value for plan in plans])
    order = np.stack([plan.order for plan in plans])
    pick, lanes = value.argmax(0), np.arange(len(levels))
    low, order = value[pick, lanes], order[pick, lanes]
    actions = replay(
        levels.walls, levels.start, field.items, keys, held, order, longest
    )
    # equal but for rounding, which must not put them the wrong way round
    high = np.where(np.abs(relaxed.high - low) <= TOLERANCE, low, relaxed.high)
    return Bounds(low=low, high=high, actions=actions, exact=high == low)


def _nothing(n: int, horizon: int) -> Bounds:
    """Levels in which nothing can happen."""
    zero = np.zeros(n)
    stay = np.full((n, horizon), 4, np.int8)
    return Bounds(low=zero, high=zero, actions=stay, exact=np.ones(n, bool))


def _gather(n: int, horizon: int, found: list[tuple[np.ndarray, Bounds]]) -> Bounds:
    """Put the parts back in the order of the levels."""
    whole = _nothing(n, horizon)
    whole = Bounds(
        **{field.name: getattr(whole, field.name).copy() for field in fields(Bounds)}
    )
    for rows, part in found:
        for name in ("low", "high", "exact"):
            getattr(whole, name)[rows] = getattr(part, name)
        whole.actions[rows, : part.actions.shape[1]] = part.actions
    return whole
