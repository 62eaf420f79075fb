"""Random walks to check laws on, and how to compare what they visited."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from malgen.errors import ContractError
from malgen.grid.moves import MIRRORED, NUM_ACTIONS, TURNED
from malgen.types import LevelDistribution, World


class Walk(NamedTuple):
    """Episodes that go on after the end of the world.

    Args:
        level: leaves [b, ...].
        keys: Key[b, t], of each step.
        actions: Int[b, t].
        states: leaves [b, t+1, ...].
        observations: Bool[b, t+1, h, w, c].
        terminal: Bool[b, t+1].
    """

    level: Any
    keys: Key[Array, "b t"]
    actions: Int[Array, "b t"]
    states: Any
    observations: Bool[Array, "b t1 h w c"]
    terminal: Bool[Array, "b t1"]


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
    return eqx.filter_jit(lambda keys: jax.vmap(levels.sample)(keys))(
        jax.random.split(key, number)
    )


def one_walk(world: World, level: Any, keys: Key[Array, " t"], actions: Array):
    """States, observations and terminal flags of one episode, [t+1, ...]."""
    key_reset = jax.random.fold_in(keys[0], 0)

    def step(state, inputs):
        key, action = inputs
        return world.step(key, state, action, level), state

    last, states = jax.lax.scan(step, world.reset(key_reset, level), (keys, actions))
    states = jax.tree.map(lambda s, end: jnp.concatenate([s, end[None]]), states, last)
    seen = jax.vmap(world.observe, in_axes=(0, None))(states, level)
    terminal = jax.vmap(world.is_terminal, in_axes=(0, None))(states, level)
    return states, seen, terminal


@eqx.filter_jit
def _walk_on(world, level, keys, actions):
    return jax.vmap(lambda *one: one_walk(world, *one))(level, keys, actions)


def walk(world: World, level: Any, keys: Array, actions: Int[Array, "b t"]) -> Walk:
    """Play the given actions on each level."""
    return Walk(level, keys, actions, *_walk_on(world, level, keys, actions))


def random_walk(world: World, level: Any, key: Key[Array, ""], steps: int) -> Walk:
    """Play uniformly random actions on each level."""
    number = jax.tree.leaves(level)[0].shape[0]
    key_steps, key_actions = jax.random.split(key)
    keys = jax.random.split(key_steps, (number, steps))
    actions = jax.random.randint(key_actions, (number, steps), 0, world.num_actions)
    return walk(world, level, keys, actions)


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


def levels_seen(world: World, observations: Array, planes: Callable) -> Any:
    """The levels that (turned) observations [b, ...] show."""
    return _levels_seen(world, observations, planes)


def turned_walk(world: World, original: Walk, turn: Turn) -> Walk:
    """The same walk on the turned levels, with turned actions."""
    level = levels_seen(world, original.observations[:, 0], turn.planes)
    actions = jnp.asarray(turn.actions)[original.actions]
    return walk(world, level, original.keys, actions)


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
