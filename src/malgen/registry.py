"""Name -> thing, with "did you mean" when the name is unknown."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from malgen.errors import ConfigError

T = TypeVar("T")


def look_up(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The thing of that name.

    Raises:
        ConfigError: naming the nearest known name, or all of them.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(table)}."
    raise ConfigError(f"There is no {kind} named {name!r}; {hint}")
