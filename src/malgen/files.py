"""Writing files so that a reader sees the old ones or the new ones, never half."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from malgen.errors import ConfigError

PARTIAL = ".partial"
"""How the names of files end that are still being written; they begin with a dot."""


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Replace a file in one step; missing folders are made.

    Returns:
        The path written.

    Raises:
        ConfigError: it cannot be written; what was there before is untouched.
    """
    path = Path(path)
    write_together({path: data})
    return path


def write_together(
    contents: Mapping[Path, bytes], *, remove: Iterable[Path] = ()
) -> None:
    """Replace several files that belong together; missing folders are made.

    All are written beside their places before the first is put there, so that a full
    disk leaves every old file as it was. A process that is killed in between leaves
    files that end in ``PARTIAL`` for the next one to sweep up.

    Args:
        contents: bytes by path, in the order in which they are put in place.
        remove: files that are no longer true once the others are there; removed
            before those are put in place, whether they exist or not.

    Raises:
        ConfigError: naming the file that cannot be written; nothing has changed,
            unless the disk takes the bytes and then refuses to rename or remove.
    """
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL
            )
            staged.append((Path(temporary), path))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; a run folder is as readable as its parent
            os.chmod(temporary, 0o644)
        for path in remove:
            path.unlink(missing_ok=True)
        for temporary, path in staged:
            os.replace(temporary, path)
        for folder in {path.parent for path in contents}:
            _keep_names(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{path} could not be written ({reason}); choose another folder or make "
            "room."
        ) from error
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _keep_names(folder: Path) -> None:
    """Let the new names of files outlast a power failure, where that can be had."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
