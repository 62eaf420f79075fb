"""The files beside a scenario file that it imports: part of what is audited.

They are found in the source and not among the loaded modules, so that the answer does
not depend on what else the process has imported.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from malgen.audit_folder import digest


def hashes(path: Path) -> dict[str, str]:
    """Hashes of the Python files that a file imports from its folder or below.

    Imports of imports are followed; what only shows when it runs (``importlib``, an
    environment's id) is not.

    Args:
        path: a Python file.

    Returns:
        By path relative to the folder, without the file itself.

    Raises:
        ConfigError: one of them cannot be read.
    """
    root = path.resolve().parent
    todo, found = [path.resolve()], {path.resolve()}
    while todo:
        for other in _imports(todo.pop(), root):
            if other not in found:
                found.add(other)
                todo.append(other)
    names = sorted(other.relative_to(root).as_posix() for other in found)
    return {n: digest(root / n) for n in names if root / n != path.resolve()}


def _imports(path: Path, root: Path) -> Iterator[Path]:
    """Files below the root that a file imports, whether or not it is run."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # whoever imports it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name, root)
        elif isinstance(node, ast.ImportFrom) and node.level <= len(path.parents):
            start = path.parents[node.level - 1] if node.level else root
            # what is imported from a package may be a module of it
            for alias in node.names:
                dotted = f"{node.module or ''}.{alias.name}".lstrip(".")
                yield from _files(start, dotted, root)


def _files(start: Path, dotted: str, root: Path) -> Iterator[Path]:
    """The files that importing a dotted name runs, as far as they are there."""
    place = start
    for name in dotted.split("."):
        for file in (place / f"{name}.py", place / name / "__init__.py"):
            if file.is_file() and file.is_relative_to(root):
                yield file
        place /= name
