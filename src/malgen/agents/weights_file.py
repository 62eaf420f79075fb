"""The file of policies: weights by name, and the settings to rebuild the network.

A safetensors file with a JSON header; ``type`` in the header names the network.
Nothing in it is executed when it is read.
"""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from malgen.agents.convolutional import ConvolutionalConfig
from malgen.agents.feedforward import FeedforwardConfig
from malgen.errors import ConfigError
from malgen.files import write_atomically
from malgen.seal import BLANK, check_seal, sealed
from malgen.worlds.keys_and_chests import PLANES

N = TypeVar("N")
FORMAT = 1

# Settings by the type that a file names.
NETWORKS: dict[Any, Any] = {
    kind.type: kind for kind in (FeedforwardConfig, ConvolutionalConfig)
}


def policy_at(policies: N, seed: int) -> N:
    """One policy out of a stack."""
    # picked by NumPy: JAX would compile a small program for every shape
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[seed]), policies)


def number_of(policies: Any) -> int:
    """How many policies are stacked."""
    return int(jax.tree.leaves(policies)[0].shape[0])


def save_policies(path: str | os.PathLike, policies: Any) -> None:
    """Write policies that are stacked by seed; a file appears whole or not at all.

    Args:
        path: a ``.safetensors`` file.
        policies: leaves [n, ...].

    Raises:
        ConfigError: the file cannot be written.
    """
    header = {
        "digest": BLANK,
        "format": FORMAT,
        "height": policies.height,
        "width": policies.width,
        "num_actions": policies.num_actions,
        "seeds": number_of(policies),
        **asdict(policies.config),
    }
    blob = safetensors.numpy.save(
        {k: np.asarray(v) for k, v in _named(policies).items()},
        metadata={"malgen": json.dumps(header, sort_keys=True)},
    )
    write_atomically(path, sealed(blob))


def load_policies(path: str | os.PathLike) -> Any:
    """Read policies that ``save_policies`` wrote; nothing in the file is executed.

    Returns:
        Policies stacked by seed, leaves [n, ...].

    Raises:
        ConfigError: a missing, damaged or foreign file.
    """
    path = Path(path)
    try:
        check_seal(path.read_bytes())
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
            f"The policy file {path} is damaged or was not written by malgen "
            f"({error}); train again or copy it again."
        ) from error
    return _assembled(path, metadata, arrays)


def _assembled(path: Path, metadata: dict[str, str], arrays: dict) -> Any:
    try:
        header = json.loads(metadata["malgen"])
        kind = NETWORKS.get(header["type"])
        if kind is None or header["format"] != FORMAT:
            raise ValueError(f"type {header['type']!r}, format {header['format']!r}")
        settings = {f.name: header[f.name] for f in fields(kind)}
        config = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        )
        numbers = [header[k] for k in ("height", "width", "num_actions", "seeds")]
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError("a size is not a whole number")
        height, width, num_actions, seeds = numbers
        if height < 3 or width < 3 or num_actions < 1 or seeds < 1:
            raise ValueError("a size is too small")
        # Abstract, so that a wrong size in the header allocates nothing.
        single = eqx.filter_eval_shape(
            lambda key: config.build(key, (height, width, len(PLANES)), num_actions),
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


def _named(policies: Any) -> dict[str, Any]:
    """Leaves by a readable name, in tree order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(policies)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
