"""Answers that were found before, by the content of the question.

One JSON file per answer, named by a hash of everything that decides it: what acts,
where, the seed, the form, the instrument's version and malgen's own code. Nothing is
executed when a file is read, and a damaged one is removed and made again.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import equinox as eqx
import jax
import numpy as np

from malgen.audits.instrument import Case, Instrument
from malgen.compiled import cache_folder
from malgen.errors import MalgenError
from malgen.files import write_atomically
from malgen.findings import Measurement, from_json, to_json
from malgen.types import HostPolicy


def folder() -> Path:
    """Where the answers lie; it may not exist."""
    return cache_folder() / "audits"


class _Unknown(Exception):
    """Something whose content cannot be told from outside, such as foreign code."""


def identity_of(policy: Any) -> str | None:
    """What decides how a policy acts, as a hash; None if that cannot be told.

    Malgen's own policies are told by their class and everything in it, weights
    included (malgen's code is hashed beside, ``code_digest``). What a callable or a
    class of somebody else does may depend on anything, so it has no identity.
    """
    found = hashlib.sha256()
    try:
        _feed(found.update, policy)
    except _Unknown:
        return None
    return found.hexdigest()


def _feed(add: Callable[[bytes], None], thing: Any) -> None:
    kind = type(thing)
    add(f"<{kind.__module__}.{kind.__qualname__}>".encode())
    if thing is None or isinstance(thing, bool | int | float | str | bytes):
        add(repr(thing).encode())
    elif isinstance(thing, np.ndarray | np.generic | jax.Array):
        array = np.asarray(thing)
        if array.dtype == object:
            raise _Unknown
        add(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    elif isinstance(thing, tuple | list):
        add(str(len(thing)).encode())
        for part in thing:
            _feed(add, part)
    elif isinstance(thing, dict):
        for name in sorted(thing, key=repr):
            _feed(add, name)
            _feed(add, thing[name])
    elif isinstance(thing, FunctionType | BuiltinFunctionType | type):
        closed = getattr(thing, "__closure__", None)
        if not _ours(thing.__module__) or closed:
            raise _Unknown
        add(thing.__qualname__.encode())
    elif _ours(kind.__module__) and (
        isinstance(thing, eqx.Module) or dataclasses.is_dataclass(thing)
    ):
        for field in dataclasses.fields(thing):
            # private fields are tables that a policy fills while it acts
            if not field.name.startswith("_"):
                add(field.name.encode())
                _feed(add, getattr(thing, field.name))
    elif _ours(kind.__module__) and isinstance(thing, HostPolicy):
        _feed(add, vars(thing))
    else:
        raise _Unknown


def _ours(module: str | None) -> bool:
    name = module or ""
    # malgen.testing's policies are there to be changed by tests
    return name.split(".")[0] in ("malgen", "jax") and not name.startswith(
        "malgen.testing"
    )


DECIDING = (
    "agents",
    "audits",
    "goals",
    "grid",
    "metrics",
    "planning",
    "rollout.py",
    "scenarios.py",
    "stats",
    "streams.py",
    "types.py",
    "worlds",
    "zoo",
)
"""The parts of malgen on which an answer may depend; the rest judges and shows."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A hash of malgen's version and source, so that no answer outlives its code."""
    found = hashlib.sha256(metadata.version("malgen").encode())
    root = Path(__file__).parents[1]
    for path in sorted(p for name in DECIDING for p in _sources(root / name)):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def _sources(path: Path) -> list[Path]:
    return [path] if path.suffix == ".py" else list(path.rglob("*.py"))


def key_of(instrument: Instrument, case: Case) -> str | None:
    """The name of an answer: a hash of everything that decides it.

    Args:
        instrument: who answers.
        case: what is asked about.

    Returns:
        Hexadecimal digits; None if the policy or its dial has no identity.
    """
    who = identity_of((case.policy, case.dial))
    if who is None:
        return None
    where = dataclasses.asdict(case.scenario)
    told = [
        who,
        where,
        case.seed,
        case.full,
        case.provenance,
        instrument.name,
        instrument.version,
        code_digest(),
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def load(key: str) -> Measurement | None:
    """The answer of that name; None, and the file removed, if it is damaged."""
    path = folder() / f"{key}.json"
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest.decode("ascii", "replace") == hashlib.sha256(text).hexdigest():
        with contextlib.suppress(ValueError):
            return from_json(Measurement, text)
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def save(key: str, measurement: Measurement) -> None:
    """Keep an answer; a cache that cannot be written costs time and nothing else."""
    text = to_json(measurement, indent=None).encode()
    head = hashlib.sha256(text).hexdigest().encode() + b"\n"
    with contextlib.suppress(MalgenError):
        write_atomically(folder() / f"{key}.json", head + text)
