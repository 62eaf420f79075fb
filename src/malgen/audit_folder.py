"""The folder in which an audit of foreign policies keeps its finished episodes."""

import contextlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from malgen import store
from malgen.errors import ConfigError
from malgen.files import PARTIAL

MANIFEST = "audit.json"


@contextlib.contextmanager
def opened(out: Path | None, asked: Any, resume: bool) -> Iterator[Path | None]:
    """The folder of the audit, held until the end; None without one.

    Args:
        out: the folder.
        asked: a frozen dataclass of what decides the episodes; those of an audit that
            asked for the same are taken over.
        resume: go on with the audit that is there.

    Raises:
        ConfigError: it is taken, holds another audit, or nothing to go on from.
    """
    if out is None:
        if resume:
            raise ConfigError(
                "There is nothing to resume without a folder; give --out DIR of the "
                "audit that was interrupted."
            )
        yield None
        return
    out = Path(out)
    manifest = out / MANIFEST
    if not manifest.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(
                f"{out} exists and is not the folder of such an audit; give another "
                "--out."
            )
        if resume:
            raise ConfigError(f"{out} has no audit to resume; leave --resume out.")
        store.write_json(manifest, asked)
    elif not resume:
        raise ConfigError(
            f"{out} already holds an audit; give --resume to go on with it, or another "
            "--out."
        )
    else:
        there = store.read_json(type(asked), manifest)
        for field in asked.__dataclass_fields__:
            was, now = getattr(there, field), getattr(asked, field)
            if was != now:
                if field == "imported":
                    (name, *_) = (n for n in was | now if was.get(n) != now.get(n))
                    raise ConfigError(
                        f"{out} holds an audit with another {name}, which the scenario "
                        "file imports; give another --out."
                    )
                raise ConfigError(
                    f"{out} holds an audit with another {field.replace('_', ' ')} "
                    f"({was!r}, now {now!r}); give another --out."
                )
    with store.hold(out):
        for leftover in out.glob(f".*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        yield out


def digest(path: Path) -> str:
    """A hash of what a file holds.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path} could not be read ({error.strerror}); check the path."
        ) from None
