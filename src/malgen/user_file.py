"""A user's Python file as a module, and what it raises as one sentence.

The file's code runs: it is the user's own.
"""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import ConfigError, ForeignError, MalgenError, first_line


def load(path: Path, seconds: float = SECONDS) -> ModuleType:
    """The file as a module; its code runs.

    Args:
        path: of the file.
        seconds: how long its code may take.

    Raises:
        ConfigError: no such file, or a syntax error.
        ForeignError: it raised, or took too long.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give one Python file.")
    if not path.exists():
        raise ConfigError(f"There is no file {path}; give a Python file.")
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{path} has a syntax error{where}: {error.msg}.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not Python source: {error}.") from None
    name = f"_checked_{path.stem}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module  # where dataclasses and parsers are looked up
    sys.path.insert(0, str(path.resolve().parent))  # as for a script
    try:
        with time_limit(f"The file {path}", seconds):
            try:
                exec(code, module.__dict__)
            except (Exception, SystemExit) as error:
                raise told(path, error, "when it was imported") from error
    finally:
        sys.path.pop(0)
    return module


def told(path: Path, error: BaseException, when: str) -> MalgenError:
    """What a user's code raised, as one sentence with its line."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    if isinstance(error, MalgenError):
        return ConfigError(f"{where}: {error}")
    return ForeignError(
        f"{where} raised {type(error).__name__} {when}: {first_line(error)}."
    )
