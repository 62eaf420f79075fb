"""The laws of a world, checked on random walks.

Law W8, equality with a plain reference world, needs that reference and is a test of
its own.
"""

import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from malgen.testing import walks
from malgen.testing.walks import Walk, attempt, difference, fail, row
from malgen.types import LevelDistribution, World

W1 = "W1 jit equals eager and vmap equals a loop"
W2 = "W2 step keeps structure, shapes and types"
W3 = "W3 the agent is never inside a wall"
W4 = "W4 every observation is a level: reset(level_from(observe(s))) == s"
W5 = "W5 items are conserved"
W6 = "W6 terminal states are absorbing"
W7 = "W7 a turned level with turned actions gives the turned trajectory"
W9 = "W9 text to level to text is the identity"


def check_world(
    world: World,
    levels: LevelDistribution | Any,
    key: Key[Array, ""],
    *,
    num_levels: int = 8,
    num_steps: int = 192,
    conserved: Callable[[Any, Any], Array] | None = None,
    parse: Callable[[str], Any] | None = None,
    certain: bool = True,
) -> list[str]:
    """Check that a world keeps its laws.

    Args:
        world: the dynamics.
        levels: what to draw levels from, or levels stacked on a leading axis.
        key: consumed.
        num_levels: how many levels are drawn.
        num_steps: random actions on each level; more of them reach more endings.
        conserved: ``(state, level) -> array`` that must stay constant in an episode;
            None means keys on the floor + keys in hand + chests opened where the
            states have ``keys``, ``chests`` and ``held``.
        parse: text to level; None means ``parse_level`` of the world's module.
        certain: False for a world whose step is random, which no turn can repeat.

    Returns:
        The laws that were checked. A law that has nothing to say about this world or
        these levels is left out: no walls or no position (W3), nothing to conserve
        (W5), no episode that ended (W6), other actions or a random world (W7),
        nothing that parses (W9).

    Raises:
        ContractError: the first law that does not hold, where, and how.
    """
    key_levels, key_walk = jax.random.split(key)
    level = attempt(
        W2, "drawing levels", walks.stacked_levels, levels, key_levels, num_levels
    )
    checked: list[str | None] = [_check_closed(world, level)]
    found = attempt(
        W2, "a random walk", walks.random_walk, world, level, key_walk, num_steps
    )
    checked.append(_check_compiled(world, found))
    checked.append(_check_walls(world, found))
    checked.append(_check_round_trip(world, found))
    checked.append(_check_conserved(found, conserved))
    checked.append(_check_absorbing(found))
    if certain and walks.can_turn(world):
        checked.append(_check_turns(world, found))
    checked.append(_check_text(world, found, parse or _parser_of(world)))
    return sorted(law for law in checked if law is not None)


def _check_closed(world: World, level: Any) -> str:
    one, key = row(level, 0), jax.random.key(0)
    action = jax.ShapeDtypeStruct((), jnp.int32)
    state = attempt(W2, "reset", eqx.filter_eval_shape, world.reset, key, one)
    stepped = attempt(
        W2, "step", eqx.filter_eval_shape, world.step, key, state, action, one
    )
    changed = walks.shape_difference(state, stepped)
    if changed:
        fail(W2, f"after one step {changed}.")
    seen = attempt(W2, "observe", eqx.filter_eval_shape, world.observe, state, one)
    if getattr(seen, "ndim", None) != 3 or seen.dtype != bool:
        fail(W2, f"observe returns {seen}; return a Bool[h, w, c] array.")
    ended = attempt(
        W2, "is_terminal", eqx.filter_eval_shape, world.is_terminal, state, one
    )
    if getattr(ended, "shape", None) != () or ended.dtype != bool:
        fail(W2, f"is_terminal returns {ended}; return one Bool.")
    shown = attempt(W2, "level_from", eqx.filter_eval_shape, world.level_from, seen)
    changed = walks.shape_difference(one, shown)
    if changed:
        fail(W2, f"in level_from {changed}.")
    return W2


def _check_compiled(world: World, found: Walk) -> str:
    for i in range(found.actions.shape[0]):
        level, seed, actions = row((found.level, found.seeds, found.actions), i)
        alone = walks.walk_alone(world, level, seed, actions)
        batched = row((found.states, found.observations, found.terminal), i)
        if difference(alone, batched):
            fail(W1, f"vmap and a loop differ in level {i}.")
    level, key = row(found.level, 0), jax.random.key(0)
    for t in (0, found.actions.shape[1] // 2):
        state = row(found.states, 0, t)
        for action in jnp.arange(world.num_actions, dtype=jnp.int32):
            compiled = walks.step_compiled(world, key, state, action, level)
            eager = attempt(W1, "eager step", world.step, key, state, action, level)
            differs = difference(compiled, eager)
            if differs:
                fail(W1, f"jit and eager step differ in {differs.field} at step {t}.")
        eager = attempt(W1, "eager observe", world.observe, state, level)
        if difference(eager, found.observations[0, t]):
            fail(W1, f"jit and eager observe differ at step {t}.")
        eager = attempt(W1, "eager is_terminal", world.is_terminal, state, level)
        if bool(eager) != bool(found.terminal[0, t]):
            fail(W1, f"jit and eager is_terminal differ at step {t}.")
    return W1


def _check_walls(world: World, found: Walk) -> str | None:
    if not (hasattr(found.states, "position") and hasattr(found.level, "walls")):
        return None
    walls = np.asarray(found.level.walls)
    positions = np.asarray(found.states.position)
    for i, path in enumerate(positions):
        inside = ((path >= 0) & (path < walls.shape[1:])).all(axis=1)
        spots = np.clip(path, 0, np.array(walls.shape[1:]) - 1)
        wrong = ~inside | walls[i, spots[:, 0], spots[:, 1]]
        if wrong.any():
            t = int(np.argmax(wrong))
            row, column = (int(x) for x in path[t])
            fail(W3, f"at step {t} of level {i} it is at row {row}, column {column}.")
    return W3


@eqx.filter_jit
def _again(world, observations):
    def once(observation):
        return world.reset(jax.random.key(0), world.level_from(observation))

    return jax.vmap(jax.vmap(once))(observations)


def _check_round_trip(world: World, found: Walk) -> str:
    differs = difference(found.states, _again(world, found.observations))
    if differs:
        fail(W4, f"{differs.where()} cannot be read back from the observation.")
    return W4


def _check_conserved(found: Walk, conserved: Callable | None) -> str | None:
    if conserved is None:
        if not all(hasattr(found.states, name) for name in ("keys", "chests", "held")):
            return None
        conserved = _keys_accounted_for
        for name in ("keys", "chests"):
            maps = np.asarray(getattr(found.states, name))
            appeared = maps[:, 1:] & ~maps[:, :-1]
            if appeared.any():
                i, t = np.argwhere(appeared)[0][:2]
                fail(W5, f"{name} appear in level {i} at step {t + 1}.")
    totals = np.asarray(_totals(conserved, found.states, found.level))
    changed = (totals != totals[:, :1]).reshape(*totals.shape[:2], -1).any(axis=-1)
    if changed.any():
        i, t = (int(x) for x in np.argwhere(changed)[0])
        fail(W5, f"the total changes in level {i} at step {t}.")
    return W5


@eqx.filter_jit
def _totals(conserved, states, level):
    return jax.vmap(jax.vmap(conserved, in_axes=(0, None)))(states, level)


def _keys_accounted_for(state: Any, level: Any) -> Array:
    opened = jnp.sum(level.chests) - jnp.sum(state.chests)
    return jnp.sum(state.keys) + state.held + opened


def _check_absorbing(found: Walk) -> str | None:
    ended = np.asarray(found.terminal)
    if not ended[:, :-1].any():
        return None
    for i, t in np.argwhere(ended[:, :-1]):
        if not ended[i, t + 1]:
            fail(W6, f"level {i} ends at step {t} and goes on at step {t + 1}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(found.states):
        values = np.asarray(leaf)
        moved = (values[:, 1:] != values[:, :-1]).reshape(*ended[:, 1:].shape, -1)
        wrong = moved.any(axis=-1) & ended[:, :-1]
        if wrong.any():
            i, t = (int(x) for x in np.argwhere(wrong)[0])
            field = jax.tree_util.keystr(path).lstrip(".")
            fail(W6, f"{field} changes in level {i} after the end, at step {t + 1}.")
    return W6


def _check_turns(world: World, found: Walk) -> str:
    for turn in walks.TURNS:
        other = attempt(W7, "a turned walk", walks.turned_walk, world, found, turn)
        flat = (-1, *found.observations.shape[2:])
        expected = walks.levels_seen(
            world, found.observations.reshape(flat), turn.planes
        )
        flat = (-1, *other.observations.shape[2:])
        reached = walks.levels_seen(world, other.observations.reshape(flat), _as_is)
        per_level = found.terminal.shape[1]
        differs = difference(expected, reached)
        if differs:
            spot = f" at step {differs.index[0] % per_level}" if differs.index else ""
            fail(W7, f"{turn.name}, {differs.field} differs{spot}.")
        if difference(found.terminal, other.terminal):
            fail(W7, f"{turn.name}, the episode ends at another step.")
    return W7


def _as_is(planes: Array) -> Array:
    return planes


def _parser_of(world: World) -> Callable[[str], Any] | None:
    return getattr(sys.modules.get(type(world).__module__), "parse_level", None)


def _check_text(world: World, found: Walk, parse: Callable | None) -> str | None:
    if parse is None:
        return None
    key = jax.random.key(0)
    for i in range(found.actions.shape[0]):
        level = row(found.level, i)
        state = world.reset(key, level)
        text = attempt(W9, "text", world.text, state, level)
        again = attempt(W9, "parsing the text", parse, text)
        differs = difference(level, again)
        if differs:
            fail(W9, f"{differs.field} of level {i} is lost in its text.")
        if world.text(world.reset(key, again), again) != text:
            fail(W9, f"level {i} is drawn differently after it was read.")
    return W9
