"""The run folder: what is written, atomically, and read back with validation.

``manifest.json`` (what was asked for, written first), ``history.jsonl``,
``policies.safetensors``, ``rollouts.npz``, ``instruments.json``, ``findings.json``,
``verdict.json``, ``report.html``, and ``timings.json``, the only file with times in
it. Whoever writes into the folder holds it.
"""

import contextlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from malgen import limits
from malgen.errors import ConfigError, MalgenError
from malgen.files import PARTIAL, write_atomically
from malgen.findings import from_json, to_json
from malgen.scenarios import find_scenario, find_shift
from malgen.training.recipes import recipe_of

T = TypeVar("T")

MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
POLICIES = "policies.safetensors"
ROLLOUTS = "rollouts.npz"
INSTRUMENTS = "instruments.json"
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


def check(manifest: Manifest) -> None:
    """Refuse what cannot be run.

    Raises:
        ConfigError: numbers out of range, unknown names.
    """
    find_scenario(manifest.scenario)
    recipe_of(manifest.scenario, manifest.network)
    limits.seed(manifest.seed)
    limits.whole("seeds", manifest.seeds, 1, limits.MOST_SEEDS)
    # fewer levels have no bootstrap interval worth the name
    limits.whole("levels", manifest.levels, 30, limits.MOST_LEVELS)
    limits.price(manifest.price)
    if manifest.timesteps is not None:
        limits.whole("timesteps", manifest.timesteps, 1, limits.MOST_TIMESTEPS)
    for name, strength in manifest.shifts:
        find_shift(name)
        limits.strength(name, strength)


@contextlib.contextmanager
def hold(run: Path) -> Iterator[None]:
    """Keep other processes from writing into a run folder, and clear it of leftovers.

    The lock is on the folder itself, so it makes no file and ends with the process,
    however that ends. File systems without locks (some network ones) are not guarded.

    Raises:
        ConfigError: another process holds the folder, or it cannot be written.
    """
    if os.name != "posix":
        yield  # no such locks there
        return
    import fcntl

    try:
        handle = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(
            f"{run} could not be opened ({error.strerror}); give the folder of a run "
            "that you may read and write."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another process is writing into {run}; wait until it has ended, or "
                "give another folder."
            ) from None
        except OSError:
            pass  # no locks on this file system
        if not os.access(run, os.W_OK):
            raise ConfigError(
                f"{run} cannot be written; change who may write there, or copy it to "
                "another folder."
            )
        _sweep(run)
        yield
    finally:
        os.close(handle)


def _sweep(run: Path) -> None:
    """Remove what a process that was killed left half written; nobody else writes."""
    # in a folder that is no run yet, only the manifest can have been begun
    pattern = f"**/.*{PARTIAL}" if is_run(run) else f".{MANIFEST}.*{PARTIAL}"
    for leftover in run.glob(pattern):
        leftover.unlink(missing_ok=True)


def json_bytes(thing: object) -> bytes:
    """A dataclass as the content of a JSON file."""
    return (to_json(thing) + "\n").encode()


def plain_json_bytes(thing: object) -> bytes:
    """Lists and dictionaries as the content of a JSON file."""
    return (json.dumps(thing, indent=2) + "\n").encode()


def write_json(path: Path, thing: object) -> None:
    """Write a dataclass as JSON."""
    write_atomically(path, json_bytes(thing))


def write_plain_json(path: Path, thing: object) -> None:
    """Write lists and dictionaries as JSON."""
    write_atomically(path, plain_json_bytes(thing))


def write_lines(path: Path, things: Iterable[object]) -> None:
    """Write dataclasses as JSON lines."""
    text = "".join(to_json(thing, indent=None) + "\n" for thing in things)
    write_atomically(path, text.encode())


def array_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the content of an .npz; the same arrays give the same bytes."""
    # numpy stamps no time on the members of an archive, so this is reproducible
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz."""
    write_atomically(path, array_bytes(arrays))


# What to do about a file that cannot be read, by its name.
REMEDIES = {
    MANIFEST: "use the version of malgen that wrote it, or start anew in another "
    "folder",
    HISTORY: "train again in another folder",
    VERDICT: "run 'malgen audit' on the folder to write it again",
    ROLLOUTS: "run 'malgen deploy' on the folder to write it again",
}


def remedy(path: Path) -> str:
    """What a user can do about a file of a run that is of no use."""
    return REMEDIES.get(path.name, "run the step that writes it again")


def read_bytes(path: Path) -> bytes:
    """The file's content, or a ConfigError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} could not be read ({error.strerror}); {remedy(path)}."
        ) from error


def read_json(kind: type[T], path: Path) -> T:
    """A validated dataclass.

    Raises:
        ConfigError: the file is missing, is not JSON, or a field is off or unknown.
    """
    try:
        return from_json(kind, read_bytes(path))
    except ValueError as error:
        raise ConfigError(
            f"{path} is not a {kind.__name__} of this version ({_first(error)}); "
            f"{remedy(path)}."
        ) from None


def _first(error: ValueError) -> str:
    """The first thing that pydantic, or JSON itself, found wrong."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    if first["type"] == "unexpected_keyword_argument":
        return f"the field {where} is unknown"
    return f"{where}: {first['msg']}"


def read_lines(kind: type[T], path: Path) -> list[T]:
    """Validated dataclasses, one per line.

    Raises:
        ConfigError: the file is missing, or a line is off.
    """
    found = []
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        try:
            found.append(from_json(kind, line))
        except ValueError as error:
            raise ConfigError(
                f"{path} has in line {number} no {kind.__name__} of this version "
                f"({_first(error)}); {remedy(path)}."
            ) from None
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays of an .npz; never unpickles."""
    data = read_bytes(path)
    try:
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}); {remedy(path)}."
        ) from error


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / MANIFEST).is_file()


def read_manifest(run: Path) -> Manifest:
    """What the run in this folder was asked for.

    Raises:
        ConfigError: no folder, no manifest, or one that cannot be run.
    """
    if not run.is_dir():
        raise ConfigError(f"There is no folder {run}; give the folder of a run.")
    path = run / MANIFEST
    if not path.exists():
        raise ConfigError(
            f"The folder {run} has no {MANIFEST}; give a folder that 'malgen run' or "
            "'malgen train' wrote."
        )
    manifest = read_json(Manifest, path)
    try:
        check(manifest)
    except MalgenError as error:
        raise ConfigError(f"{path} cannot be used: {error}") from None
    return manifest
