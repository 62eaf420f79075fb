"""The reference network: a small MLP that sees the level from where it stands.

It reads the full observation and turns it into an agent-centered view inside, so
that an observation stays a level for every policy. The default view is lossless: a
network that takes a key instead of a far chest did not fail to see the chest.

Source: orthogonal initialization and head scales as in Huang et al. 2022, "The 37
implementation details of proximal policy optimization".
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Array, Bool, Float, Key

from malgen.errors import ConfigError
from malgen.grid.views import centered, position_of, view_shape
from malgen.types import ActorCritic
from malgen.worlds.keys_and_chests import PLANES

_AGENT, _HELD = PLANES.index("agent"), PLANES.index("held")
# What every training level may show, and what only some deployments show. The two
# have weights of their own, so that training need not multiply by planes that are
# blank throughout (the product and its gradient are exactly zero).
_COMMON = tuple(PLANES.index(name) for name in ("walls", "keys", "chests"))
_RARE = tuple(PLANES.index(name) for name in ("flagged keys", "owned chests"))

# Keys in hand are shown one input per key up to this count; what exceeds it is shown
# in binary, so that no count is ever mistaken for another.
COUNTED = 16

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FeedforwardConfig:
    """Settings of the network.

    Attributes:
        hidden: units of each hidden layer of the shared trunk.
        view: "agent" for the lossless agent-centered view, or an odd number of
            cells for a crop.
        activation: one of ``ACTIVATIONS``.
    """

    hidden: tuple[int, ...] = (128, 128)
    view: str | int = "agent"
    activation: str = "relu"
    type: str = "feedforward"

    def build(
        self, key: Key[Array, ""], shape: Sequence[int], num_actions: int
    ) -> "Feedforward":
        """A new network for observations of a shape (h, w, planes).

        Raises:
            ConfigError: settings or planes that cannot be used.
        """
        if len(shape) != 3 or shape[2] != len(PLANES):
            raise ConfigError(
                f"The network reads {len(PLANES)} planes ({', '.join(PLANES)}) but "
                f"observations have the shape {list(shape)}; use a world with these "
                "planes."
            )
        return Feedforward(key, shape[0], shape[1], num_actions=num_actions, config=self)


class Feedforward(ActorCritic):
    """A shared trunk over an agent-centered view, with an actor and a critic head.

    Args:
        key: consumed by the initialization.
        height: rows of the grid, border included.
        width: columns of the grid, border included.
        num_actions: length of a row of logits.
        config: sizes, view and activation.

    Raises:
        ConfigError: settings that cannot be used.
    """

    common: Float[Array, "inputs hidden"]
    rare: Float[Array, "rare hidden"]
    bias: Float[Array, " hidden"]
    trunk: tuple[tuple[Float[Array, "i o"], Float[Array, " o"]], ...]
    actor: tuple[Float[Array, "hidden a"], Float[Array, " a"]]
    critic: tuple[Float[Array, "hidden 1"], Float[Array, " 1"]]
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
        num_actions: int = 5,
        config: FeedforwardConfig | None = None,
    ):
        config = FeedforwardConfig() if config is None else config
        _check(config)
        rows, columns = view_shape(height, width, config.view)
        held = COUNTED + _digits(height, width)
        num_common = rows * columns * len(_COMMON) + held
        num_rare = rows * columns * len(_RARE)
        sizes = config.hidden
        keys = jax.random.split(key, len(sizes) + 2)
        first = _orthogonal(keys[0], num_common + num_rare, sizes[0], np.sqrt(2))
        self.common, self.rare = first[:num_common], first[num_common:]
        self.bias = jnp.zeros(sizes[0])
        self.trunk = tuple(
            (_orthogonal(k, i, o, np.sqrt(2)), jnp.zeros(o))
            for k, i, o in zip(keys[1:-2], sizes[:-1], sizes[1:], strict=True)
        )
        last = sizes[-1]
        self.actor = _orthogonal(keys[-2], last, num_actions, 0.01), jnp.zeros(
            num_actions
        )
        self.critic = _orthogonal(keys[-1], last, 1, 1.0), jnp.zeros(1)
        self.height, self.width, self.num_actions = height, width, num_actions
        self.config = config
        self.ignores_rare = False

    def encode(self, observation: Bool[Array, "h w 7"]) -> Bool[Array, " inputs"]:
        """The bits that the first layer multiplies: the view and the keys in hand."""
        shape = view_shape(self.height, self.width, self.config.view)
        position = position_of(observation[:, :, _AGENT])
        planes = _COMMON if self.ignores_rare else _COMMON + _RARE
        view = centered(
            jnp.stack([observation[:, :, p] for p in planes], axis=-1),
            position,
            shape,
            tuple(PLANES[p] == "walls" for p in planes),
        )
        held = jnp.sum(observation[:, :, _HELD], dtype=jnp.int32)
        beyond = jnp.maximum(held - COUNTED, 0)
        digits = jnp.arange(_digits(self.height, self.width))
        parts = [
            view[:, :, : len(_COMMON)].ravel(),
            jnp.arange(COUNTED) < held,
            (beyond >> digits) & 1 == 1,
        ]
        if not self.ignores_rare:
            parts.append(view[:, :, len(_COMMON) :].ravel())
        return jnp.concatenate(parts)

    def heads(
        self, inputs: Bool[Array, " inputs"]
    ) -> tuple[Float[Array, " a"], Float[Array, ""]]:
        """Logits and estimated return from what ``encode`` returned."""
        weights = (
            self.common
            if self.ignores_rare
            else jnp.concatenate([self.common, self.rare])
        )
        active = ACTIVATIONS[self.config.activation]
        hidden = active(inputs.astype(jnp.float32) @ weights + self.bias)
        for matrix, bias in self.trunk:
            hidden = active(hidden @ matrix + bias)
        logits = hidden @ self.actor[0] + self.actor[1]
        return logits, (hidden @ self.critic[0] + self.critic[1])[0]

    def evaluate(
        self, observation: Bool[Array, "h w 7"], carry: Any = None
    ) -> tuple[Float[Array, " a"], Float[Array, ""], Any]:
        """Logits, estimated discounted return, and the carry it was given."""
        logits, value = self.heads(self.encode(observation))
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
        object.__setattr__(copy, "ignores_rare", set(_RARE) <= set(blank))
        return copy

    @property
    def skipped(self) -> tuple[int, ...]:
        """Indices of the planes that ``without`` made it skip."""
        return _RARE if self.ignores_rare else ()


def _check(config: FeedforwardConfig) -> None:
    if not config.hidden or any(
        isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in config.hidden
    ):
        raise ConfigError(
            f"The hidden layers are {config.hidden!r}; give one positive number of "
            "units per layer, for example (128, 128)."
        )
    if config.activation not in ACTIVATIONS:
        raise ConfigError(
            f"Unknown activation {config.activation!r}; use one of "
            f"{', '.join(ACTIVATIONS)}."
        )


def _digits(height: int, width: int) -> int:
    """Binary digits of the largest count of keys beyond ``COUNTED``."""
    return max(height * width - COUNTED, 1).bit_length()


def _orthogonal(key, inputs: int, outputs: int, scale: float) -> Array:
    return jax.nn.initializers.orthogonal(float(scale))(
        key, (inputs, outputs), jnp.float32
    )


def policy_at(policies: Feedforward, seed: int) -> Feedforward:
    """One policy out of a stack."""
    return jax.tree.map(lambda leaf: leaf[seed], policies)


def save_policies(path: str | os.PathLike, policies: Feedforward) -> None:
    """Write policies that are stacked by seed; a file appears whole or not at all.

    Args:
        path: a ``.safetensors`` file.
        policies: leaves [n, ...].

    Raises:
        ConfigError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "height": policies.height,
        "width": policies.width,
        "num_actions": policies.num_actions,
        "seeds": int(policies.bias.shape[0]),
        **asdict(policies.config),
    }
    blob = safetensors.numpy.save(
        {k: np.asarray(v) for k, v in _named(policies).items()},
        metadata={"malgen": json.dumps(header, sort_keys=True)},
    )
    write_atomically(path, blob)


def write_atomically(path: str | os.PathLike, blob: bytes) -> None:
    """Replace a file in one step, so that a reader never sees half of it.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(blob)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(
            f"Cannot write {path} ({error.strerror}); choose a folder that can be "
            "written to."
        ) from error


def load_policies(path: str | os.PathLike) -> Feedforward:
    """Read policies that ``save_policies`` wrote; nothing in the file is executed.

    Returns:
        Policies stacked by seed, leaves [n, ...].

    Raises:
        ConfigError: a missing, damaged or foreign file.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ConfigError(
            f"There is no policy file {path}; give the path of a .safetensors file "
            "that 'malgen train' wrote."
        ) from None
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise ConfigError(
            f"The policy file {path} is damaged or is not a .safetensors file; train "
            "again or copy it again."
        ) from error
    return _assembled(path, metadata, arrays)


def _assembled(path: Path, metadata: dict[str, str], arrays: dict) -> Feedforward:
    try:
        header = json.loads(metadata["malgen"])
        if header["type"] != "feedforward" or header["format"] != FORMAT:
            raise ValueError(f"type {header['type']!r}, format {header['format']!r}")
        config = FeedforwardConfig(
            hidden=tuple(header["hidden"]),
            view=header["view"],
            activation=header["activation"],
        )
        numbers = [header[k] for k in ("height", "width", "num_actions", "seeds")]
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError("a size is not a whole number")
        height, width, num_actions, seeds = numbers
        if height < 3 or width < 3 or num_actions < 1 or seeds < 1:
            raise ValueError("a size is too small")
        # Abstract, so that a wrong size in the header allocates nothing.
        single = eqx.filter_eval_shape(
            lambda key: Feedforward(
                key, height, width, num_actions=num_actions, config=config
            ),
            jax.eval_shape(lambda: jax.random.key(0)),
        )
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ConfigError(
            f"The policy file {path} does not describe a malgen network ({error}); "
            "give a file that 'malgen train' wrote."
        ) from error
    names = _named(single)
    wanted = {name: (seeds, *leaf.shape) for name, leaf in names.items()}
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if wanted != found:
        name = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise ConfigError(
            f"The policy file {path} contradicts its own header at {name!r} (expected "
            f"shape {wanted.get(name)}, found {found.get(name)}); train again."
        )
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ConfigError(
                f"The policy file {path} has weights {name!r} that are not finite "
                "32-bit numbers; train again."
            )
    leaves = [jnp.asarray(arrays[name]) for name in names]
    return jax.tree.unflatten(jax.tree.structure(single), leaves)


def _named(policies: Feedforward) -> dict[str, Any]:
    """Leaves by a readable name, in tree order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(policies)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


__all__ = [
    "Feedforward",
    "FeedforwardConfig",
    "load_policies",
    "policy_at",
    "save_policies",
    "write_atomically",
]
