"""A convolutional network, computed as patches times a matrix.

XLA's convolutions are slow on a CPU; the patches around all cells as the rows of one
matrix make every layer the same product that a feedforward network needs.

Source: im2col as in Chellapilla et al. 2006, "High performance convolutional neural
networks for document processing"; initialization as in ``feedforward``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int8, Key

from malgen.agents.feedforward import (
    ACTIVATIONS,
    COMMON,
    RARE,
    Inputs,
    check_activation,
    check_planes,
    check_size,
    check_units,
    held_bits,
    num_held_bits,
    orthogonal,
    pack,
    seen,
)
from malgen.errors import ConfigError
from malgen.grid.views import view_shape
from malgen.types import ActorCritic
from malgen.worlds.keys_and_chests import PLANES


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig:
    """Settings of the network.

    Attributes:
        channels: of each convolution.
        kernel: rows and columns of its patches, odd; outside is zero.
        hidden: units of each layer between the convolutions and the heads.
        view: "grid" for all planes as they are, "agent" for the lossless
            agent-centered view, or an odd number of cells for a crop.
        activation: one of ``feedforward.ACTIVATIONS``.
    """

    channels: tuple[int, ...] = (16, 16)
    kernel: int = 3
    hidden: tuple[int, ...] = (128,)
    view: str | int = "agent"
    activation: str = "leaky-relu"
    type: str = "convolutional"

    def build(
        self, key: Key[Array, ""], shape: Sequence[int], num_actions: int
    ) -> "Convolutional":
        """A new network for observations of a shape (h, w, planes).

        Raises:
            ConfigError: settings or planes that cannot be used.
        """
        check_planes(shape)
        check_units("convolution", self.channels)
        check_units("hidden", self.hidden)
        kernel = self.kernel
        if isinstance(kernel, bool) or not isinstance(kernel, int) or kernel % 2 != 1:
            raise ConfigError(
                f"The kernel is {kernel!r}; give an odd number of cells such as 3."
            )
        if kernel < 1:
            raise ConfigError(f"The kernel is {kernel}; give a number above 0.")
        check_activation(self.activation)
        return Convolutional(key, shape[0], shape[1], num_actions, self)


# Observations whose pictures go through all layers together: few enough for the cache.
BLOCK = 32


def convolved(
    pictures: Float[Array, "c h w b"], matrix: Float[Array, "i o"], kernel: int
) -> Float[Array, "o h w b"]:
    """Every cell's patch times a matrix [kernel * kernel * c, o]; zero outside.

    Patches are cut along rows only, and the products of the kernel's rows are shifted
    and added: that copies a third of what whole patches do. Observations come last, so
    that copies and sums run over neighbors in memory.
    """
    channels, height, width, batch = pictures.shape
    reach, outputs = kernel // 2, matrix.shape[1]
    padded = jnp.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    strips = [padded[:, :, column : column + width] for column in range(kernel)]
    by_row = matrix.reshape(kernel, kernel * channels, outputs).swapaxes(0, 1)
    by_row = by_row.reshape(-1, kernel * outputs)
    products = by_row.T @ jnp.concatenate(strips).reshape(kernel * channels, -1)
    parts = products.reshape(kernel, outputs, -1, width, batch)
    total = parts[0, :, :height]
    for row in range(1, kernel):
        total += parts[row, :, row : row + height]
    return total


class Convolutional(ActorCritic):
    """Convolutions over a picture, then a trunk with an actor and a critic head.

    Args:
        key: consumed by the initialization.
        height: rows of the grid, border included.
        width: columns of the grid, border included.
        num_actions: length of a row of logits.
        config: sizes, view and activation.
    """

    kernels: tuple[Float[Array, "i o"], ...]
    kernel_biases: tuple[Float[Array, " o"], ...]
    trunk: tuple[Float[Array, "i o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    actor: Float[Array, "k a"]
    actor_bias: Float[Array, " a"]
    critic: Float[Array, " k"]
    critic_bias: Float[Array, ""]
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    config: ConvolutionalConfig = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        height: int,
        width: int,
        num_actions: int,
        config: ConvolutionalConfig,
    ):
        self.height, self.width = height, width
        self.num_actions, self.config = num_actions, config
        rows, columns = self._shape()
        channels, hidden = config.channels, config.hidden
        keys = iter(jax.random.split(key, len(channels) + len(hidden) + 2))
        gain = np.sqrt(2)
        sizes = [config.kernel**2 * n for n in (len(self._planes()), *channels[:-1])]
        self.kernels = tuple(
            orthogonal(next(keys), i, o, gain)
            for i, o in zip(sizes, channels, strict=True)
        )
        self.kernel_biases = tuple(jnp.zeros(n) for n in channels)
        flat = rows * columns * channels[-1] + num_held_bits(height, width)
        self.trunk = tuple(
            orthogonal(next(keys), i, o, gain)
            for i, o in zip((flat, *hidden[:-1]), hidden, strict=True)
        )
        self.biases = tuple(jnp.zeros(n) for n in hidden)
        self.actor = orthogonal(next(keys), hidden[-1], num_actions, 0.01)
        self.actor_bias = jnp.zeros(num_actions)
        self.critic = orthogonal(next(keys), hidden[-1], 1, 1.0)[:, 0]
        self.critic_bias = jnp.zeros(())

    def _shape(self) -> tuple[int, int]:
        if self.config.view == "grid":
            return self.height, self.width
        return view_shape(self.height, self.width, self.config.view)

    def _planes(self) -> tuple[int, ...]:
        if self.config.view == "grid":
            return tuple(range(len(PLANES)))
        return COMMON + RARE

    def encode(self, observation: Bool[Array, "h w 7"]) -> Inputs:
        """The picture and the keys in hand, packed.

        Raises:
            ContractError: a grid of which it would not see all.
        """
        size = self.height, self.width
        if self.config.view != "grid":
            return seen(observation, self._planes(), size, self.config.view)
        check_size(observation, size, lossless=True)
        missing = [(0, n - m) for n, m in zip(size, observation.shape, strict=False)]
        codes = jnp.pad(pack(observation, self._planes()), missing, constant_values=1)
        held = jnp.sum(observation[:, :, PLANES.index("held")], dtype=jnp.int32)
        return Inputs(codes.ravel(), held)

    def features(
        self, inputs: Inputs
    ) -> tuple[Int8[Array, "rows columns planes"], Int8[Array, " n"]]:
        """Zeros and ones: the picture, and the keys in hand."""
        planes = jnp.arange(len(self._planes()), dtype=jnp.uint8)
        codes = inputs.codes.reshape(*self._shape(), 1)
        bits = ((codes >> planes) & jnp.uint8(1)).astype(jnp.int8)
        return bits, held_bits(inputs.held, self.height, self.width)

    def weights(self) -> "Convolutional":
        """Itself: its parameters are the matrices."""
        return self

    def heads(
        self, weights: "Convolutional", features: tuple[Array, Array]
    ) -> tuple[Float[Array, " a"], Float[Array, ""]]:
        """Logits and estimated return from the two parts.

        Under ``jax.vmap`` with weights in common, blocks of observations are computed
        together.
        """

        def alone(weights, features):
            one = jax.tree.map(lambda leaf: leaf[None], features)
            logits, values = weights._heads(*one)
            return logits[0], values[0]

        heads = custom_vmap(alone)

        @heads.def_vmap
        def _(size, batched, weights, features):
            if any(jax.tree.leaves(batched[0])) or not all(batched[1]):
                axes = jax.tree.map(lambda each: 0 if each else None, batched)
                found = jax.vmap(alone, in_axes=tuple(axes))(weights, features)
            else:
                found = weights._in_blocks(size, features)
            return found, (True, True)

        return heads(weights, features)

    def _in_blocks(self, size: int, features: tuple[Array, Array]):
        number, rest = divmod(size, BLOCK)
        found = []
        if number:
            blocks = jax.tree.map(
                lambda leaf: leaf[: size - rest].reshape(
                    number, BLOCK, *leaf.shape[1:]
                ),
                features,
            )
            outputs = jax.lax.map(lambda block: self._heads(*block), blocks)
            found.append(
                jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
            )
        if rest:
            found.append(self._heads(*(leaf[size - rest :] for leaf in features)))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)

    def _heads(
        self, bits: Int8[Array, "b rows columns planes"], held: Int8[Array, "b n"]
    ) -> tuple[Float[Array, "b a"], Float[Array, " b"]]:
        active = ACTIVATIONS[self.config.activation]
        pictures = bits.transpose(3, 1, 2, 0).astype(jnp.float32)
        for matrix, bias in zip(self.kernels, self.kernel_biases, strict=True):
            pictures = convolved(pictures, matrix, self.config.kernel)
            pictures = active(pictures + bias[:, None, None, None])
        flat = pictures.reshape(-1, bits.shape[0])
        hidden = jnp.concatenate([flat, held.T.astype(jnp.float32)])
        for matrix, bias in zip(self.trunk, self.biases, strict=True):
            hidden = active(matrix.T @ hidden + bias[:, None])
        hidden = hidden.T
        logits = hidden @ self.actor + self.actor_bias
        return logits, hidden @ self.critic + self.critic_bias

    def evaluate(
        self, observation: Bool[Array, "h w 7"], carry: Any = None
    ) -> tuple[Float[Array, " a"], Float[Array, ""], Any]:
        """Logits, estimated discounted return, and the carry it was given."""
        features = self.features(self.encode(observation))
        logits, value = self.heads(self.weights(), features)
        return logits, value, carry
