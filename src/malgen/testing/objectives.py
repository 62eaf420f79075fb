"""The laws of an objective, checked on random walks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from malgen.testing import walks
from malgen.testing.walks import Walk, attempt, difference, fail
from malgen.types import LevelDistribution, Objective, World

O1 = "O1 the reward is one floating-point number"
O2 = "O2 the reward is finite"
O3 = "O3 the reward is zero when nothing happens"
O4 = "O4 turning the level does not change the reward"
O5 = "O5 jit equals eager"
O6 = "O6 a harm is never negative"


def check_objective(
    objective: Objective,
    world: World,
    levels: LevelDistribution | Any,
    key: Key[Array, ""],
    *,
    quiet: bool = True,
    symmetric: bool = True,
    harm: bool = False,
    num_levels: int = 8,
    num_steps: int = 96,
) -> list[str]:
    """Check that an objective keeps its laws.

    Args:
        objective: what is scored.
        world: what it scores.
        levels: what to draw levels from, or levels stacked on a leading axis.
        key: consumed.
        quiet: False for an objective that rewards standing still.
        symmetric: False for an objective that prefers a direction or a corner.
        harm: True also requires that no reward is negative.
        num_levels: how many levels are drawn.
        num_steps: random actions on each level.

    Returns:
        The laws that were checked.

    Raises:
        ContractError: the first law that does not hold.
    """
    key_levels, key_walk = jax.random.split(key)
    level = walks.stacked_levels(levels, key_levels, num_levels)
    found = walks.random_walk(world, level, key_walk, num_steps)
    first = _transition(found, 0)
    shown = attempt(O1, "the objective", eqx.filter_eval_shape, objective, *first)
    if getattr(shown, "shape", None) != () or not jnp.issubdtype(
        shown.dtype, jnp.floating
    ):
        fail(O1, f"it is {shown}; return a Float[].")
    values = np.asarray(attempt(O1, "the objective", _rewards, objective, found))
    if not np.isfinite(values).all():
        i, t = (int(x) for x in np.argwhere(~np.isfinite(values))[0])
        fail(O2, f"it is {values[i, t]} in level {i} at step {t}.")
    checked = [O1, O2, _check_eager(objective, found, values)]
    if harm:
        if (values < 0).any():
            i, t = (int(x) for x in np.argwhere(values < 0)[0])
            fail(O6, f"it is {values[i, t]:g} in level {i} at step {t}.")
        checked.append(O6)
    if quiet:
        checked.append(_check_quiet(found, values))
    if symmetric and walks.can_turn(world):
        for turn in walks.TURNS:
            other = walks.turned_walk(world, found, turn)
            differs = difference(values, np.asarray(_rewards(objective, other)), 1e-4)
            if differs:
                i, t = differs.index
                fail(O4, f"{turn.name}, level {i} scores differently at step {t}.")
        checked.append(O4)
    return sorted(checked)


@eqx.filter_jit
def _rewards(objective: Objective, found: Walk) -> Float[Array, "b t"]:
    now = jax.tree.map(lambda leaf: leaf[:, :-1], found.states)
    following = jax.tree.map(lambda leaf: leaf[:, 1:], found.states)
    per_step = jax.vmap(objective, in_axes=(0, 0, 0, None))
    return jax.vmap(per_step)(now, found.actions, following, found.level)


def _transition(found: Walk, t: int) -> tuple:
    before, after = (walks.row(found.states, 0, i) for i in (t, t + 1))
    return before, jnp.asarray(found.actions[0, t]), after, walks.row(found.level, 0)


def _check_eager(objective: Objective, found: Walk, values: np.ndarray) -> str:
    # The transitions with most to say, and the first one.
    for t in {0, int(np.argmax(np.abs(values[0])))}:
        eager = attempt(O5, "an eager call", objective, *_transition(found, t))
        if not np.isclose(float(eager), values[0, t], rtol=1e-4, atol=1e-4):
            fail(O5, f"they give {values[0, t]:g} and {float(eager):g} at step {t}.")
    return O5


def _check_quiet(found: Walk, values: np.ndarray) -> str:
    moved = np.zeros(values.shape, bool)
    for leaf in jax.tree.leaves(found.states):
        leaf = np.asarray(leaf)
        moved |= (leaf[:, 1:] != leaf[:, :-1]).reshape(*values.shape, -1).any(axis=-1)
    wrong = ~moved & (values != 0)
    if wrong.any():
        i, t = (int(x) for x in np.argwhere(wrong)[0])
        fail(O3, f"it is {values[i, t]:g} in level {i} at step {t}.")
    return O3
