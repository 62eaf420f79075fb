"""Checkpoints: everything a training run needs to go on to the same bytes.

One safetensors file (weights, optimizer, environments, random keys) with a JSON
header (counters, history, a digest of every byte of the file). Nothing in it is
executed when it is read.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from malgen.errors import ConfigError
from malgen.files import write_atomically
from malgen.result import HistoryPoint
from malgen.seal import BLANK, check_seal, sealed

FORMAT = 2
NAME = "checkpoint.safetensors"


class Checkpoint(NamedTuple):
    """What was read back."""

    learners: Any
    counters: dict[str, Any]
    points: tuple[HistoryPoint, ...]
    losses: tuple[Any, ...]


def save_checkpoint(
    folder: Path,
    learners: Any,
    counters: dict[str, Any],
    points: Sequence[HistoryPoint],
    losses: Sequence[Any],
) -> None:
    """Replace the folder's checkpoint in one step.

    Args:
        folder: made if it is missing.
        learners: arrays and typed random keys.
        counters: JSON values; ``identity`` is stored as a hash.
        points: history.
        losses: history, dataclasses.

    Raises:
        ConfigError: the folder cannot be written.
    """
    header = {
        "digest": BLANK,
        **counters,
        "identity": _hash(counters["identity"]),
        "format": FORMAT,
        "points": [asdict(point) for point in points],
        "losses": [asdict(row) for row in losses],
    }
    arrays = {
        f"{i:03}": np.asarray(_raw(leaf))
        for i, leaf in enumerate(jax.tree.leaves(learners))
    }
    blob = safetensors.numpy.save(arrays, metadata={"malgen": json.dumps(header)})
    write_atomically(folder / NAME, sealed(blob))


def load_checkpoint(
    folder: Path, example: Any, identity: str, row_type: type
) -> Checkpoint | None:
    """Read a checkpoint.

    Args:
        folder: where ``save_checkpoint`` wrote.
        example: learners with the structure, shapes and dtypes to expect.
        identity: what the run is; a checkpoint of another run is refused.
        row_type: dataclass of the rows of losses.

    Returns:
        The checkpoint; None when the folder has none.

    Raises:
        ConfigError: a damaged checkpoint, or one of another run.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        check_seal(path.read_bytes())
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["malgen"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["format"] != FORMAT:
            raise ValueError(f"unknown format {header['format']!r}")
        same = header["identity"] == _hash(identity)
        learners = _filled(example, arrays) if same else None
        counters = {
            "chunk": int(header["chunk"]),
            "in_a_row": int(header["in_a_row"]),
            "stopped_early": bool(header["stopped_early"]),
            "blank": [int(plane) for plane in header["blank"]],
        }
        points = tuple(HistoryPoint(**point) for point in header["points"])
        losses = tuple(row_type(**row) for row in header["losses"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as e:
        raise ConfigError(
            f"The checkpoint {path} is damaged ({e}); delete it to train from the "
            "start."
        ) from e
    if not same:
        raise ConfigError(
            f"The checkpoint {path} belongs to a run with other settings; give the "
            "same settings, or another folder."
        )
    return Checkpoint(learners, counters, points, losses)


def _hash(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _raw(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def _filled(example: Any, arrays: dict[str, np.ndarray]) -> Any:
    leaves, structure = jax.tree.flatten(example)
    if sorted(arrays) != [f"{i:03}" for i in range(len(leaves))]:
        raise ValueError(f"{len(arrays)} arrays instead of {len(leaves)}")
    filled = []
    for i, leaf in enumerate(leaves):
        array, raw = arrays[f"{i:03}"], _raw(leaf)
        if array.shape != raw.shape or array.dtype != raw.dtype:
            raise ValueError(
                f"array {i} is {array.dtype}{list(array.shape)} instead of "
                f"{raw.dtype}{list(raw.shape)}"
            )
        value = jnp.asarray(array)
        is_key = raw is not leaf
        filled.append(jax.random.wrap_key_data(value) if is_key else value)
    return jax.tree.unflatten(structure, filled)
