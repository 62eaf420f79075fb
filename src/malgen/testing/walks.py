"""Random walks to check laws on, and how to compare what they visited."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, UInt32

from malgen.errors import ContractError
from malgen.grid.moves import MIRRORED, NUM_ACTIONS, TURNED
from malgen.types import LevelDistribution, World


class Walk(NamedTuple):
    """Episodes that go on after the end of the world.

    Args:
        level: leaves [b, ...], like all others numpy arrays.
        seeds: UInt32[b], of all that happens at random in an episode.
        actions: Int[b, t].
        states: leaves [b, t+1, ...].
        observations: Bool[b, t+1, h, w, c].
        terminal: Bool[b, t+1].
    """

    level: Any
    seeds: UInt32[np.ndarray, " b"]
    actions: Int[np.ndarray, "b t"]
    states: Any
    observations: Bool[np.ndarray, "b t1 h w c"]
    terminal: Bool[np.ndarray, "b t1"]


def fail(law: str, complaint: str) -> NoReturn:
    """Report a broken law in one sentence."""
    raise ContractError(f"{law}: {complaint}")


def attempt(law: str, what: str, function: Callable, *args) -> Any:
    """Call foreign code; what it raises becomes a broken law."""
    try:
        return function(*args)
    except ContractError:
        raise
    except Exception as error:
        first_line = (str(error).strip() or "no message").splitlines()[0]
        raise ContractError(
            f"{law}: {what} failed with {type(error).__name__}: {first_line}"
        ) from error


def stacked_levels(levels: Any, key: Key[Array, ""], number: int) -> Any:
    """Levels to walk on: drawn from a distribution, or given with a leading axis."""
    if not isinstance(levels, LevelDistribution):
        return levels
    return _sample(levels, jax.random.split(key, number))


@eqx.filter_jit
def _sample(levels, keys):
    return jax.vmap(levels.sample)(keys)


def row(tree: Any, *index: int) -> Any:
    """One level (or one step of it) out of a batch, as JAX arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), tree)


def one_walk(world: World, level: Any, seed: Array, actions: Int[Array, " t"]):
    """States, observations and terminal flags of one episode, [t+1, ...]."""
    key_reset, key_steps = jax.random.split(jax.random.key(seed))

    def step(state, inputs):
        key, action = inputs
        return world.step(key, state, action, level), state

    inputs = (jax.random.split(key_steps, actions.shape[0]), actions)
    last, states = jax.lax.scan(step, world.reset(key_reset, level), inputs)
    states = jax.tree.map(lambda s, end: jnp.concatenate([s, end[None]]), states, last)
    seen = jax.vmap(world.observe, in_axes=(0, None))(states, level)
    terminal = jax.vmap(world.is_terminal, in_axes=(0, None))(states, level)
    return states, seen, terminal


# Compiled once for each world and shape, however often the laws are checked.
walk_alone = eqx.filter_jit(one_walk)


@eqx.filter_jit
def step_compiled(world: World, *transition) -> Any:
    """``world.step``, compiled."""
    return world.step(*transition)


@eqx.filter_jit
def _walk_on(world, level, seeds, actions):
    return jax.vmap(lambda *one: one_walk(world, *one))(level, seeds, actions)


def walk(world: World, level: Any, seeds: np.ndarray, actions: np.ndarray) -> Walk:
    """Play the given actions on each level."""
    played = _walk_on(world, level, seeds, actions)
    return Walk(jax.device_get(level), seeds, actions, *jax.device_get(played))


def random_walk(world: World, level: Any, key: Key[Array, ""], steps: int) -> Walk:
    """Play uniformly random actions on each level."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    number = jax.tree.leaves(level)[0].shape[0]
    actions = rng.integers(0, world.num_actions, (number, steps), dtype=np.int32)
    seeds = rng.integers(0, 2**31, number, dtype=np.uint32)
    return walk(world, level, seeds, actions)


class Turn(NamedTuple):
    """A symmetry of the square grid: what it does to planes and to actions."""

    name: str
    planes: Callable[[Array], Array]
    actions: np.ndarray


def _turned(planes: Array) -> Array:
    return jnp.rot90(planes)


def _mirrored(planes: Array) -> Array:
    return jnp.fliplr(planes)


# These two generate all eight symmetries.
TURNS = (
    Turn("turned by a quarter", _turned, TURNED),
    Turn("mirrored left to right", _mirrored, MIRRORED),
)


@eqx.filter_jit
def _levels_seen(world, observations, planes):
    return jax.vmap(lambda seen: world.level_from(planes(seen)))(observations)


def levels_seen(
    world: World, observations: Array | np.ndarray, planes: Callable
) -> Any:
    """The levels that (turned) observations [b, ...] show."""
    return jax.device_get(_levels_seen(world, observations, planes))


def turned_walk(world: World, original: Walk, turn: Turn) -> Walk:
    """The same walk on the turned levels, with turned actions."""
    level = levels_seen(world, original.observations[:, 0], turn.planes)
    actions = turn.actions[original.actions].astype(np.int32)
    return walk(world, level, original.seeds, actions)


def can_turn(world: World) -> bool:
    """Whether the world's actions are the five moves that a turn is defined for."""
    return world.num_actions == NUM_ACTIONS


class Difference(NamedTuple):
    """Where two pytrees first differ."""

    field: str
    index: tuple[int, ...]

    def where(self) -> str:
        """For example "keys of level 0 at step 3"."""
        names = ("level", "step")
        spots = [f"{name} {i}" for name, i in zip(names, self.index, strict=False)]
        place = " at ".join(spots)
        return f"{self.field or 'the value'}" + (f" of {place}" if place else "")


def difference(first: Any, second: Any, tolerance: float = 0.0) -> Difference | None:
    """The first place where two pytrees differ; None when they are equal."""
    if jax.tree.structure(first) != jax.tree.structure(second):
        return Difference("the structure", ())
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True
    )
    for (path, left), right in pairs:
        field = jax.tree_util.keystr(path).lstrip(".")
        left, right = np.asarray(left), np.asarray(right)
        if left.shape != right.shape:
            return Difference(f"the shape of {field or 'the value'}", ())
        if left.dtype != right.dtype:
            return Difference(f"the type of {field or 'the value'}", ())
        if tolerance and np.issubdtype(left.dtype, np.floating):
            wrong = ~np.isclose(left, right, rtol=tolerance, atol=tolerance)
        else:
            wrong = left != right
        if wrong.any():
            spot = np.argwhere(wrong)[0] if wrong.ndim else ()
            return Difference(field, tuple(int(i) for i in spot))
    return None


def shape_difference(expected: Any, given: Any) -> str | None:
    """In words how two trees of arrays differ in structure, shape or type."""
    if jax.tree.structure(expected) != jax.tree.structure(given):
        return "the structure changed"
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(expected),
        jax.tree.leaves(given),
        strict=True,
    )
    for (path, left), right in pairs:
        if (left.shape, left.dtype) != (right.shape, right.dtype):
            field = jax.tree_util.keystr(path).lstrip(".") or "the value"
            return (
                f"{field} changed from {left.dtype}{list(left.shape)} to "
                f"{right.dtype}{list(right.shape)}"
            )
    return None
