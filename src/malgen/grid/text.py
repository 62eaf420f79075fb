"""ASCII pictures of levels: characters <-> arrays, with errors that say where.

Legend: ``#`` wall, ``.`` floor, ``@`` agent, ``k`` key, ``c`` chest, ``K`` flagged
(trapped) key, ``C`` owned chest. A last line ``held 2`` tells the keys in hand.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from malgen.errors import LevelError

LEGEND = {
    "#": "wall",
    ".": "floor",
    "@": "agent",
    "k": "key",
    "c": "chest",
    "K": "flagged key",
    "C": "owned chest",
}


class Picture(NamedTuple):
    """What an ASCII level shows; arrays are [h, w] except ``start`` [2]."""

    walls: Bool[np.ndarray, "h w"]
    start: Int[np.ndarray, "2"]
    keys: Bool[np.ndarray, "h w"]
    chests: Bool[np.ndarray, "h w"]
    flagged: Bool[np.ndarray, "h w"]
    owned: Bool[np.ndarray, "h w"]
    held: int


def parse(text: str) -> Picture:
    """Read an ASCII level.

    Raises:
        LevelError: ragged rows, an unknown character, no agent or two, a border
            that is open, an item that cannot be reached, an unreadable ``held``
            line; rows and columns are counted from 1.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    held = 0
    if lines and lines[-1].lower().startswith("held"):
        number = lines.pop()[4:].strip()
        if not (number.isascii() and number.isdigit() and len(number) < 6):
            raise LevelError(
                f"The last line says 'held {number}'; write 'held' and a whole "
                "number of keys, for example 'held 2'."
            )
        held = int(number)
    if not lines:
        raise LevelError("The level is empty; draw it with the characters # . @ k c.")
    width = len(lines[0])
    for i, line in enumerate(lines, 1):
        if len(line) != width:
            raise LevelError(
                f"Row {i} of the level has {len(line)} characters but row 1 has "
                f"{width}; make every row equally long."
            )
        for j, character in enumerate(line, 1):
            if character not in LEGEND:
                raise LevelError(
                    f"Unknown character {character!r} at row {i}, column {j}; "
                    f"use one of {' '.join(LEGEND)}."
                )
    grid = np.array([list(line) for line in lines])
    agents = np.argwhere(grid == "@")
    if len(agents) != 1:
        where = ", ".join(f"row {r + 1} column {c + 1}" for r, c in agents[:3])
        raise LevelError(
            f"The level has {len(agents)} agents"
            + (f" ({where})" if len(agents) else "")
            + "; draw exactly one @."
        )
    picture = Picture(
        walls=grid == "#",
        start=agents[0].astype(np.int32),
        keys=(grid == "k") | (grid == "K"),
        chests=(grid == "c") | (grid == "C"),
        flagged=grid == "K",
        owned=grid == "C",
        held=held,
    )
    check(picture)
    return picture


def check(picture: Picture) -> None:
    """Refuse a level that is open at the border or has items out of reach.

    Also one with more keys than cells: observations count keys in hand in cells.

    Raises:
        LevelError: with the row and column (from 1) of the first offender.
    """
    walls = picture.walls
    for i, j in np.argwhere(~walls):
        if i in (0, walls.shape[0] - 1) or j in (0, walls.shape[1] - 1):
            raise LevelError(
                f"The border is open at row {i + 1}, column {j + 1}; put a # there "
                "(the outermost rows and columns are walls)."
            )
    if walls[tuple(picture.start)]:
        raise LevelError("The agent stands in a wall; move it to a floor cell.")
    num_keys = int(picture.held) + int(picture.keys.sum())
    if num_keys > walls.size:
        raise LevelError(
            f"The level has {num_keys} keys, in hand and on the floor, but only "
            f"{walls.size} cells; use at most one key per cell."
        )
    reached = np.zeros_like(walls)
    reached[tuple(picture.start)] = True
    queue = deque([tuple(int(x) for x in picture.start)])
    while queue:
        i, j = queue.popleft()
        for cell in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if not walls[cell] and not reached[cell]:
                reached[cell] = True
                queue.append(cell)
    for i, j in np.argwhere((picture.keys | picture.chests) & ~reached):
        kind = "key" if picture.keys[i, j] else "chest"
        raise LevelError(
            f"The {kind} at row {i + 1}, column {j + 1} cannot be reached from the "
            "agent; open a way to it or remove it."
        )


def draw(picture: Picture) -> str:
    """The ASCII picture; the inverse of ``parse``. The agent hides what is under it."""
    grid = np.full(picture.walls.shape, ".")
    grid[picture.walls] = "#"
    grid[picture.keys] = "k"
    grid[picture.chests] = "c"
    grid[picture.keys & picture.flagged] = "K"
    grid[picture.chests & picture.owned] = "C"
    grid[tuple(picture.start)] = "@"
    rows = ["".join(row) for row in grid]
    if picture.held:
        rows.append(f"held {int(picture.held)}")
    return "\n".join(rows)
