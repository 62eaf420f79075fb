"""Writing a file so that a reader sees the old one or the new one, never half."""

import os
import tempfile
from pathlib import Path

from malgen.errors import ConfigError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Replace a file in one step; missing folders are made.

    Returns:
        The path written.

    Raises:
        ConfigError: it cannot be written; what was there before is untouched.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; a run folder is as readable as its parent
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} could not be written ({error.strerror}); choose another folder "
            "or make room."
        ) from error
    return path
