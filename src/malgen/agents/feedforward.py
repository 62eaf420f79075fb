"""The reference network: a small MLP that sees the level from where it stands.

It reads the full observation and turns it into an agent-centered view inside, so
that an observation stays a level for every policy. The default view is lossless: a
network that takes a key instead of a far chest did not fail to see the chest.

Source: orthogonal initialization and head scales as in Huang et al. 2022, "The 37
implementation details of proximal policy optimization".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, Key, UInt8

from malgen.agents.symmetry import (
    ACTIONS_BACK,
    ELEMENTS,
    ORDER,
    folded,
    folded_filters,
    folded_matrix,
    folded_units,
    spread,
)
from malgen.errors import ConfigError, ContractError
from malgen.grid.moves import NUM_ACTIONS
from malgen.grid.views import centered, position_of, view_shape
from malgen.types import ActorCritic
from malgen.worlds.keys_and_chests import PLANES

_WALLS, _AGENT, _HELD = (PLANES.index(name) for name in ("walls", "agent", "held"))
# What every training level may show, and what only some deployments show. The two
# have weights of their own, so that training need not multiply by planes that are
# blank throughout (the product and its gradient are exactly zero).
COMMON = tuple(PLANES.index(name) for name in ("walls", "keys", "chests"))
RARE = tuple(PLANES.index(name) for name in ("flagged keys", "owned chests"))

# Keys in hand are shown one input per key up to this count; what exceeds it is shown
# in binary, so that no count is ever mistaken for another.
COUNTED = 16

# Plain relu units can all die in the first updates: hundreds of wall bits move a unit
# together, and one step of a large learning rate then silences it for ever.
ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky-relu": lambda x: jnp.maximum(x, 0.1 * x),
}


@dataclass(frozen=True, kw_only=True)
class FeedforwardConfig:
    """Settings of the network.

    Attributes:
        hidden: units of each hidden layer of the shared trunk.
        view: "agent" for the lossless agent-centered view, or an odd number of
            cells for a crop.
        activation: one of ``ACTIVATIONS``.
        symmetric: tie the weights so that a turned level gets turned logits; for
            square grids.
    """

    hidden: tuple[int, ...] = (128, 128)
    view: str | int = "agent"
    activation: str = "leaky-relu"
    symmetric: bool = False
    type: str = "feedforward"

    def build(
        self, key: Key[Array, ""], shape: Sequence[int], num_actions: int
    ) -> "Feedforward":
        """A new network for observations of a shape (h, w, planes).

        Raises:
            ConfigError: settings or planes that cannot be used.
        """
        check_planes(shape)
        return Feedforward(
            key, shape[0], shape[1], num_actions=num_actions, config=self
        )


class Inputs(NamedTuple):
    """What the network reads, packed: one byte per cell of the view.

    Attributes:
        codes: plane i of the view is bit i; common planes first.
        held: keys in hand.
    """

    codes: UInt8[Array, " cells"]
    held: Int[Array, ""]


Features = tuple[Int8[Array, " inputs"], ...]


class Weights(NamedTuple):
    """The matrices that features are multiplied with; (matrices, bias) per layer.

    A layer has one matrix; with tied weights one for each of the four classes of
    ``symmetry.folded``, and its units come as [reflections, swapped, k].
    """

    trunk: tuple[tuple[list[Float[Array, "i o"]], Float[Array, " o"]], ...]
    actor: tuple[Float[Array, "hidden a"], Float[Array, " a"]]
    critic: tuple[Float[Array, " hidden"], Float[Array, ""]]


class Feedforward(ActorCritic):
    """A shared trunk over an agent-centered view, with an actor and a critic head.

    With ``symmetric``, units come in groups of eight (one per turn and mirror image
    of the view) that share their parameters, so that a turned level gets turned
    logits and the same value. It is the same kind of network with tied weights: it
    computes as many products and needs fewer examples.

    Args:
        key: consumed by the initialization.
        height: rows of the grid, border included.
        width: columns of the grid, border included.
        num_actions: length of a row of logits.
        config: sizes, view and activation.

    Raises:
        ConfigError: settings that cannot be used.

    Source: tied weights as in Cohen & Welling 2016, "Group equivariant convolutional
    networks".
    """

    cells: Float[Array, "p rows columns k"]
    rare_cells: Float[Array, "p rows columns k"]
    held: Float[Array, "counts k"]
    trunk: tuple[Float[Array, "..."], ...]
    biases: tuple[Float[Array, " k"], ...]
    actor: Float[Array, "k a"]
    actor_bias: Float[Array, " b"]
    critic: Float[Array, " k"]
    critic_bias: Float[Array, ""]
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    config: FeedforwardConfig = eqx.field(static=True)
    ignores_rare: bool = eqx.field(static=True, default=False)

    def __init__(
        self,
        key: Key[Array, ""],
        height: int,
        width: int,
        *,
        num_actions: int = NUM_ACTIONS,
        config: FeedforwardConfig | None = None,
    ):
        config = FeedforwardConfig() if config is None else config
        _check(config, height, width, num_actions)
        rows, columns = view_shape(height, width, config.view)
        order = ORDER if config.symmetric else 1
        sizes = [n // order for n in config.hidden]
        keys = jax.random.split(key, len(sizes) + 2)
        gain = np.sqrt(2)
        num_cells = rows * columns
        split = num_cells * len(COMMON), num_cells * len(COMMON + RARE)
        total = split[1] + num_held_bits(height, width)
        first = orthogonal(keys[0], total, sizes[0], gain)
        self.cells = first[: split[0]].reshape(-1, rows, columns, sizes[0])
        self.rare_cells = first[split[0] : split[1]].reshape(
            -1, rows, columns, sizes[0]
        )
        self.held = first[split[1] :]
        self.trunk = tuple(
            orthogonal(k, i * order, o, gain).reshape(i, order, o)
            for k, i, o in zip(keys[1:-2], sizes[:-1], sizes[1:], strict=True)
        )
        self.biases = tuple(jnp.zeros(n) for n in sizes)
        # The columns are those of the whole matrix of the head, of which one row
        # per group of units is kept.
        spread = 1 / np.sqrt(order)
        self.actor = orthogonal(keys[-2], sizes[-1], num_actions, 0.01 * spread)
        self.actor_bias = jnp.zeros(2 if config.symmetric else num_actions)
        self.critic = orthogonal(keys[-1], sizes[-1], 1, spread)[:, 0]
        self.critic_bias = jnp.zeros(())
        self.height, self.width, self.num_actions = height, width, num_actions
        self.config = config
        self.ignores_rare = False

    def encode(self, observation: Bool[Array, "h w 7"]) -> Inputs:
        """The view and the keys in hand, packed; the part that knows the world.

        Raises:
            ContractError: a grid on which the lossless view would lose cells.
        """
        planes = COMMON if self.ignores_rare else COMMON + RARE
        size = self.height, self.width
        return seen(observation, planes, size, self.config.view)

    def features(self, inputs: Inputs) -> Features:
        """What the first layer multiplies; the part that has no parameters.

        Returns:
            Zeros and ones, plane after plane, then the keys in hand; with tied weights
            the four classes of ``symmetry.folded``, the keys in hand in the first.
        """
        num_planes = len(COMMON) if self.ignores_rare else len(COMMON + RARE)
        planes = jnp.arange(num_planes, dtype=jnp.uint8)[:, None]
        bits = ((inputs.codes[None] >> planes) & jnp.uint8(1)).astype(jnp.int8)
        held = held_bits(inputs.held, self.height, self.width)
        if not self.config.symmetric:
            return (jnp.concatenate([bits.ravel(), held]),)
        shape = view_shape(self.height, self.width, self.config.view)
        even, *odd = (c.ravel() for c in folded(bits.reshape(num_planes, *shape)))
        return (jnp.concatenate([even, held]), *odd)

    def weights(self) -> Weights:
        """The matrices; the part that does not depend on the observation."""
        cells = self.cells
        if not self.ignores_rare:
            cells = jnp.concatenate([cells, self.rare_cells])
        if not self.config.symmetric:
            first = jnp.concatenate([cells.reshape(-1, cells.shape[-1]), self.held])
            matrices = [[first], *([m[:, 0]] for m in self.trunk)]
            heads = (self.actor, self.actor_bias), (self.critic, self.critic_bias)
            return Weights(tuple(zip(matrices, self.biases, strict=True)), *heads)
        even, *odd = folded_filters(cells)
        # Keys in hand look the same from everywhere.
        even = jnp.concatenate([even, jnp.tile(self.held, 2)])
        matrices = [[even, *odd], *(folded_matrix(m) for m in self.trunk)]
        biases = [jnp.tile(bias, 2) for bias in self.biases]
        # [k, g, a] <- [k, g^-1 a]
        actor = self.actor[:, ACTIONS_BACK[ELEMENTS.ravel()]].swapaxes(0, 1)
        return Weights(
            tuple(zip(matrices, biases, strict=True)),
            (actor.reshape(-1, self.num_actions), self.actor_bias[_ACTION_KINDS]),
            (jnp.tile(self.critic, ORDER), self.critic_bias),
        )

    def heads(
        self, weights: Weights, features: Features
    ) -> tuple[Float[Array, " a"], Float[Array, ""]]:
        """Logits and estimated return from the two parts."""
        active = ACTIVATIONS[self.config.activation]
        parts = [part.astype(jnp.float32) for part in features]
        hidden = parts[0]
        for matrices, bias in weights.trunk:
            products = [p @ m for p, m in zip(parts, matrices, strict=True)]
            products[0] += bias
            if self.config.symmetric:
                hidden = active(spread(products))
                parts = folded_units(hidden)
            else:
                hidden = active(products[0])
                parts = [hidden]
        hidden = hidden.ravel()
        logits = hidden @ weights.actor[0] + weights.actor[1]
        return logits, hidden @ weights.critic[0] + weights.critic[1]

    def evaluate(
        self, observation: Bool[Array, "h w 7"], carry: Any = None
    ) -> tuple[Float[Array, " a"], Float[Array, ""], Any]:
        """Logits, estimated discounted return, and the carry it was given."""
        features = self.features(self.encode(observation))
        logits, value = self.heads(self.weights(), features)
        return logits, value, carry

    def without(self, blank: Sequence[int]) -> "Feedforward":
        """The same function, computed faster, for observations with blank planes.

        Args:
            blank: indices of planes in which no observation will have a bit.
        """
        copy = object.__new__(Feedforward)
        for name in self.__dataclass_fields__:
            object.__setattr__(copy, name, getattr(self, name))
        # A static field is not a leaf, so eqx.tree_at cannot reach it.
        object.__setattr__(copy, "ignores_rare", set(RARE) <= set(blank))
        return copy

    @property
    def skipped(self) -> tuple[int, ...]:
        """Indices of the planes that ``without`` made it skip."""
        return RARE if self.ignores_rare else ()


def seen(
    observation: Bool[Array, "h w 7"],
    planes: Sequence[int],
    size: tuple[int, int],
    view: str | int,
) -> Inputs:
    """What a network made for grids of a size sees from where the agent stands.

    Raises:
        ContractError: a grid on which the lossless view would lose cells.
    """
    check_size(observation, size, view == "agent")
    codes = centered(
        pack(observation, planes),
        position_of(observation[:, :, _AGENT]),
        view_shape(*size, view),
        1 << planes.index(_WALLS),
    )
    held = jnp.sum(observation[:, :, _HELD], dtype=jnp.int32)
    return Inputs(codes.ravel(), held)


def check_planes(shape: Sequence[int]) -> None:
    """Refuse observations that are not made of the planes that networks read."""
    if len(shape) != 3 or shape[2] != len(PLANES):
        raise ConfigError(
            f"The network reads {len(PLANES)} planes ({', '.join(PLANES)}) but "
            f"observations have the shape {list(shape)}; use a world with these "
            "planes."
        )


def check_activation(name: str) -> None:
    """Refuse an unknown activation.

    Raises:
        ConfigError: it is not one of ``ACTIVATIONS``.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"Unknown activation {name!r}; use one of {', '.join(ACTIVATIONS)}."
        )


def check_units(what: str, units: Sequence[int]) -> None:
    """Refuse numbers of units that are not positive whole numbers."""
    if not units or any(
        isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in units
    ):
        raise ConfigError(
            f"The {what} layers are {units!r}; give one positive number of units per "
            "layer, for example (128, 128)."
        )


def check_size(observation: Array, size: tuple[int, int], lossless: bool) -> None:
    """Refuse a grid larger than a network that must see everything was made for."""
    height, width = observation.shape[:2]
    if lossless and (height > size[0] or width > size[1]):
        # Silently seeing less would pass blindness off as a wrong goal.
        raise ContractError(
            f"The network was made for grids of {size[0]} x {size[1]} cells but sees "
            f"one of {height} x {width}; give it a scenario of its size, or train one "
            "there."
        )


def num_held_bits(height: int, width: int) -> int:
    """Inputs that show the keys in hand."""
    return COUNTED + _digits(height, width)


def held_bits(held: Int[Array, ""], height: int, width: int) -> Int8[Array, " n"]:
    """The keys in hand: in unary up to ``COUNTED``, what exceeds it in binary."""
    beyond = jnp.maximum(held - COUNTED, 0)
    digits = jnp.arange(_digits(height, width))
    parts = [jnp.arange(COUNTED) < held, (beyond >> digits) & 1]
    return jnp.concatenate([part.astype(jnp.int8) for part in parts])


def pack(observation: Array, planes: Sequence[int]) -> UInt8[Array, "h w"]:
    """One byte per cell; ``planes[i]`` is bit i."""
    codes = jnp.zeros(observation.shape[:2], jnp.uint8)
    for i, plane in enumerate(planes):
        codes |= observation[:, :, plane].astype(jnp.uint8) << np.uint8(i)
    return codes


# Symmetric biases can tell moving from staying, not one direction from another.
_ACTION_KINDS = np.array([0] * 4 + [1])


def _check(config: FeedforwardConfig, height, width, num_actions) -> None:
    check_units("hidden", config.hidden)
    check_activation(config.activation)
    if not config.symmetric:
        return
    if height != width or num_actions != NUM_ACTIONS:
        raise ConfigError(
            f"A symmetric network needs a square grid and the {NUM_ACTIONS} moves, but "
            f"the grid is {height} x {width} with {num_actions} actions; use "
            "symmetric=False."
        )
    if any(n % ORDER for n in config.hidden):
        raise ConfigError(
            f"The hidden layers are {config.hidden!r}; a symmetric network needs "
            f"multiples of {ORDER}."
        )


def _digits(height: int, width: int) -> int:
    """Binary digits of the largest count of keys beyond ``COUNTED``."""
    return max(height * width - COUNTED, 1).bit_length()


def orthogonal(key, inputs: int, outputs: int, scale: float) -> Array:
    """A random matrix with orthogonal rows or columns, times ``scale``."""
    return jax.nn.initializers.orthogonal(float(scale))(
        key, (inputs, outputs), jnp.float32
    )
