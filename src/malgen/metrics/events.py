"""Which items were taken when, and how directly the agent walked between them."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from malgen.grid.moves import STAY
from malgen.grid.paths import UNREACHABLE, distances
from malgen.types import Rollout


class Events(NamedTuple):
    """Per step, what the action brought about; arrays [b, t].

    Attributes:
        key: a key was picked up.
        chest: a chest was opened.
        row: row of the agent after the action.
        column: its column.
    """

    key: Bool[np.ndarray, "b t"]
    chest: Bool[np.ndarray, "b t"]
    row: Int[np.ndarray, "b t"]
    column: Int[np.ndarray, "b t"]


def events(rollout: Rollout) -> Events:
    """The items that each recorded action took."""
    states = rollout.states
    keys = np.asarray(_item_counts(states.keys))
    chests = np.asarray(_item_counts(states.chests))
    position = np.asarray(states.position)
    return Events(
        key=keys[:, :-1] > keys[:, 1:],
        chest=chests[:, :-1] > chests[:, 1:],
        row=position[:, 1:, 0],
        column=position[:, 1:, 1],
    )


@jax.jit
def _item_counts(maps):
    return jnp.sum(maps, axis=(2, 3))


class LegTotals(NamedTuple):
    """Leg efficiency's numerator and denominator per episode, in steps."""

    distance: Float[np.ndarray, " b"]
    time: Float[np.ndarray, " b"]


# From this share of idle actions on, the stretch after the last event is "stopped",
# not "searching".
IDLE_SHARE = 0.9


def legs(rollout: Rollout) -> LegTotals:
    """Shortest distances between consecutive events, and the time they took.

    The stretch after the last event does not count when at least 90% of its actions
    are *stay* or when no item is left.

    Source: measurement.md 2.2 (leg efficiency), own.
    """
    seen = events(rollout)
    any_event = seen.key | seen.chest
    active = np.asarray(rollout.active)
    number = len(active)
    most = max(int(any_event.sum(axis=1).max()), 1)
    # stops[i, j]: cell of event j of episode i; the start comes first
    order = np.argsort(~any_event, axis=1, kind="stable")[:, :most]
    real = np.take_along_axis(any_event, order, axis=1)
    start = np.asarray(rollout.states.position[:, 0])
    rows = np.where(real, np.take_along_axis(seen.row, order, axis=1), start[:, :1])
    columns = np.where(
        real, np.take_along_axis(seen.column, order, axis=1), start[:, 1:]
    )
    stops = np.stack([rows, columns], axis=-1)
    stops = np.concatenate([start[:, None], stops], axis=1)
    steps = np.asarray(_leg_distances(rollout.level.walls, jnp.asarray(stops)))
    distance = np.where(real & (steps < UNREACHABLE), steps, 0).sum(axis=1)

    length = active.sum(axis=1)
    clock = np.arange(active.shape[1])
    last = np.where(any_event.any(axis=1), (any_event * (clock + 1)).max(axis=1), 0)
    after = active & (clock >= last[:, None])
    idle = (np.asarray(rollout.actions) == STAY) & after
    waiting = idle.sum(axis=1) >= IDLE_SHARE * np.maximum(after.sum(axis=1), 1)
    items = np.asarray(_item_counts(rollout.states.keys | rollout.states.chests))
    done = waiting | (items[:, -1] == 0)
    time = np.where(done & (last > 0), last, length)
    return LegTotals(
        distance.astype(np.float64), np.maximum(time, 1).reshape(number).astype(float)
    )


@eqx.filter_jit
def _leg_distances(walls, stops):
    height, width = walls.shape[1:]
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]

    def leg(walls, begin, end):
        source = (rows == begin[0]) & (columns == begin[1])
        return distances(walls, source)[end[0], end[1]]

    def episode(walls, stops):
        return jax.vmap(leg, in_axes=(None, 0, 0))(walls, stops[:-1], stops[1:])

    return jax.vmap(episode)(walls, stops)
