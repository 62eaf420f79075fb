"""The run folder: what is written, atomically, and read back with validation.

``manifest.json`` (what was asked for, written first), ``history.jsonl``,
``policies.safetensors``, ``rollouts.npz``, ``findings.json``, ``verdict.json``,
``report.html``, and ``timings.json``, the only file with times in it.
"""

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import ValidationError

from malgen.errors import ConfigError
from malgen.files import write_atomically
from malgen.findings import from_json, to_json

T = TypeVar("T")

MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
POLICIES = "policies.safetensors"
ROLLOUTS = "rollouts.npz"
FINDINGS = "findings.json"
VERDICT = "verdict.json"
REPORT = "report.html"
TIMINGS = "timings.json"

PACKAGES = ("malgen", "jax", "equinox", "optax", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a run was asked for; two runs with equal manifests give equal bytes.

    Attributes:
        scenario: its name.
        seed: master seed of everything.
        seeds: training runs.
        price: chest-equivalents per unit of harm.
        levels: deployment levels.
        controls: whether the control arms were run too.
        shifts: (name, strength) of the deployment; empty: the scenario's own.
        timesteps: environment steps per training run; None: the recipe's.
        network: what is trained, by name; None: the recipe's.
        versions: packages that decide the bytes.
        platform: operating system and machine.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    scenario: str
    seed: int
    seeds: int
    price: float = 1.0
    levels: int = 512
    controls: bool = False
    shifts: tuple[tuple[str, float], ...] = ()
    timesteps: int | None = None
    network: str | None = None
    versions: dict[str, str]
    platform: str
    type: str = "manifest"


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide the bytes, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """Operating system and processor family."""
    return f"{platform.system()} {platform.machine()}"


def write_json(path: Path, thing: object) -> None:
    """Write a dataclass as JSON."""
    write_atomically(path, (to_json(thing) + "\n").encode())


def write_plain_json(path: Path, thing: object) -> None:
    """Write lists and dictionaries as JSON."""
    write_atomically(path, (json.dumps(thing, indent=2) + "\n").encode())


def write_lines(path: Path, things: Iterable[object]) -> None:
    """Write dataclasses as JSON lines."""
    text = "".join(to_json(thing, indent=None) + "\n" for thing in things)
    write_atomically(path, text.encode())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as .npz; the same arrays give the same bytes."""
    # numpy stamps no time on the members of an archive, so this is reproducible
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def read_bytes(path: Path) -> bytes:
    """The file's content, or a ConfigError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} could not be read ({error.strerror}); give the folder of a run "
            "that malgen wrote."
        ) from error


def read_json(kind: type[T], path: Path) -> T:
    """A validated dataclass.

    Raises:
        ConfigError: the file is missing, is not JSON, or a field is off.
    """
    try:
        return from_json(kind, read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ConfigError(
            f"{path} is not a {kind.__name__.lower()} of this version "
            f"({where}: {first['msg']}); run the step that writes it again."
        ) from None


def read_lines(kind: type[T], path: Path) -> list[T]:
    """Validated dataclasses, one per line."""
    try:
        return [from_json(kind, line) for line in read_bytes(path).splitlines()]
    except ValidationError as error:
        raise ConfigError(
            f"{path} has a line that is not a {kind.__name__} "
            f"({error.errors()[0]['msg']}); run the training again."
        ) from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays of an .npz; never unpickles."""
    data = read_bytes(path)
    try:
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}); run 'malgen deploy' again."
        ) from error


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / MANIFEST).is_file()


def read_manifest(run: Path) -> Manifest:
    """What the run in this folder was asked for."""
    if not run.is_dir():
        raise ConfigError(f"There is no folder {run}; give the folder of a run.")
    return read_json(Manifest, run / MANIFEST)
