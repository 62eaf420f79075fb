"""JAX's cache of compiled programs: where it lies, and what a killed process tore.

JAX writes an entry in place and never replaces one, so an entry that a kill or a full
disk cut short would be a warning and a compilation in every later process.
"""

import contextlib
import os
import warnings
import zlib
from pathlib import Path

CHECKED = ".checked"
"""Its time says which entries were found whole; each is looked at once."""


def cache_folder() -> Path:
    """Where malgen keeps what only saves time; it may not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "malgen")


def keep_compiled_programs() -> None:
    """Let JAX find what an earlier process compiled; whoever set a folder keeps it."""
    # a cache that cannot be used costs time and nothing else
    for verb in ("reading", "writing"):
        warnings.filterwarnings(
            "ignore", message=f"Error {verb} persistent compilation cache entry"
        )
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        remove_torn(folder)
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)


def remove_torn(folder: Path) -> None:
    """Remove the entries that are not whole; those seen whole before are not read."""
    stamp = folder / CHECKED
    seen = stamp.stat().st_mtime if stamp.exists() else 0.0
    newest = seen
    for entry in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process was here too
            written = entry.stat().st_mtime
            # clocks of file systems are coarse, so the same moment is read again
            if written < seen:
                continue
            newest = max(newest, written)
            if not _whole(entry.read_bytes()):
                entry.unlink()
    stamp.touch()
    os.utime(stamp, (newest, newest))


def _whole(data: bytes) -> bool:
    """Whether a zlib stream has its end; other formats are believed."""
    if not data:
        return False
    if data[0] != 0x78:
        return True
    reader = zlib.decompressobj()
    try:
        reader.decompress(data)
    except zlib.error:
        return False
    return reader.eof
