"""Walking distances between items, when other items must or need not be avoided.

A shortest path that avoids the active items is a chain of stretches that avoid *all*
items, joined at inactive ones. So one breadth-first search per item in which every
item absorbs is enough; adding inactive items one at a time, as in Floyd (1962,
Algorithm 97), then gives the distance for every set of inactive items.

Breadth-first search works on row bitboards (one machine word per grid row), with
many searches side by side. Source: own; bitboards as in chess programs.
"""

from collections.abc import Iterator

import numpy as np

from malgen.errors import NotMeasurable


def pack(cells: np.ndarray) -> np.ndarray:
    """Turn cell maps into row bitboards.

    Args:
        cells: bool[b, h, w].

    Returns:
        Unsigned int[h, b]; bit c of row r is cell (r, c).

    Raises:
        NotMeasurable: the grid is wider than 64 cells.
    """
    w = cells.shape[2]
    if w > 64:
        raise NotMeasurable(
            f"The grid is {w} cells wide but exact planning handles at most 64; "
            "use a smaller grid."
        )
    dtype = np.uint16 if w <= 16 else np.uint32 if w <= 32 else np.uint64
    boards = np.zeros((cells.shape[1], cells.shape[0]), dtype)
    for column in range(w):
        boards |= cells[:, :, column].T.astype(dtype) << dtype(column)
    return boards


def flood(
    free: np.ndarray, seeds: np.ndarray, absorb: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Breadth-first search on many boards at once.

    Args:
        free: unsigned int[h, n], cells that can be entered; it is used up.
        seeds: unsigned int[h, n], where each search begins.
        absorb: unsigned int[h, n], cells that are reached but not left again.

    Yields:
        ``(frontier, new)`` of each step: the cells left and the cells first reached.
    """
    one = free.dtype.type(1)
    frontier = seeds.copy()
    free &= ~seeds
    while True:
        new = frontier << one
        new |= frontier >> one
        new[1:] |= frontier[:-1]
        new[:-1] |= frontier[1:]
        new &= free
        if not new.any():
            return
        free ^= new
        yield frontier, new
        frontier = new if absorb is None else new & ~absorb


def place(cells: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Boards [h, n] of the kind of ``like`` with the one cell int[n, 2] set."""
    boards = np.zeros((like.shape[0], len(cells)), like.dtype)
    bits = like.dtype.type(1) << cells[:, 1].astype(like.dtype)
    boards[cells[:, 0], np.arange(len(cells))] = bits
    return boards


def steps_to(
    free: np.ndarray, seeds: np.ndarray, absorb: np.ndarray, cells: np.ndarray
) -> np.ndarray:
    """How far some cells of each board are from its seeds.

    Args:
        free: unsigned int[h, n], cells that can be entered; it is used up.
        seeds: unsigned int[h, n], where each search begins.
        absorb: unsigned int[h, n], cells that are reached but not left again.
        cells: int[m, n, 2], the cells asked for.

    Returns:
        int16[m, n], steps; -1 where there is no path (or for a seed itself).
    """
    planes: list[np.ndarray] = []
    for step, (_, new) in enumerate(flood(free, seeds, absorb), 1):
        if step >> len(planes):
            planes.append(np.zeros_like(new))
        for bit, plane in enumerate(planes):
            if step >> bit & 1:
                plane |= new
    column = np.arange(free.shape[1])
    at_row, at_bit = cells[..., 0], cells[..., 1].astype(free.dtype)
    distance = np.zeros(cells.shape[:2], np.int16)
    for bit, plane in enumerate(planes):
        found = (plane[at_row, column] >> at_bit) & free.dtype.type(1)
        distance |= found.astype(np.int16) << bit
    return np.where(distance == 0, -1, distance).astype(np.int16)


def direct(walls: np.ndarray, sources: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Distances from sources to items on paths that touch no other item.

    Args:
        walls: bool[b, h, w].
        sources: int[s, b, 2], cells where paths begin; they may hold an item.
        items: int[m, b, 2], cells of all items.

    Returns:
        int16[s, m, b], steps; 0 for the source itself, -1 where there is no path.
    """
    num, b = sources.shape[:2]
    free = pack(~walls)
    absorb = np.zeros_like(free)
    for item in items:
        absorb |= place(item, free)
    free = np.tile(free, num)
    seeds = place(sources.reshape(-1, 2), free)
    distance = steps_to(free, seeds, np.tile(absorb, num), np.tile(items, (1, num, 1)))
    distance = distance.reshape(len(items), num, b).swapaxes(0, 1)
    same = (sources[:, None] == items[None]).all(-1)
    return np.where(same, 0, distance).astype(np.int16)


def compact(distance: np.ndarray, num_cells: int) -> tuple[np.ndarray, int]:
    """Store distances in the smallest type that can add two of them.

    Args:
        distance: int[...], steps, -1 for no path.
        num_cells: cells of the grid inside its border; distances are below it.

    Returns:
        The distances with "no path" replaced by a large finite number, and it.

    Raises:
        NotMeasurable: the grid is too large.
    """
    if num_cells > 16383:
        raise NotMeasurable(
            f"The grid has {num_cells} cells but exact planning handles at most 16383; "
            "use a smaller grid."
        )
    small = num_cells <= 127
    far = 127 if small else 16383
    kind = np.uint8 if small else np.uint16
    return np.where(distance < 0, far, distance).astype(kind), far


def pair_numbers(m: int) -> np.ndarray:
    """Number of each unordered pair of m items: int[m, m], 0 on the diagonal."""
    numbers = np.zeros((m, m), np.int64)
    upper = np.triu_indices(m, 1)
    numbers[upper] = np.arange(len(upper[0]))
    return numbers + numbers.T


def through_sets(between: np.ndarray) -> np.ndarray:
    """Distances between items for every set of inactive items.

    Args:
        between: unsigned int[m, m, b], direct distances, as from `compact`.

    Returns:
        unsigned int[pairs, 2**m, b]: entry [p, T] is the distance between the items
        of pair p (`pair_numbers`) on paths that may cross the items of the bit set T
        but no others.
    """
    m, _, b = between.shape
    numbers = pair_numbers(m)
    table = np.empty((max(1, m * (m - 1) // 2), 1 << m, b), between.dtype)
    for i in range(m):
        table[numbers[i, i + 1 :], 0] = between[i, i + 1 :]
    for k in range(m):
        size = 1 << k
        for i in range(m):
            for j in range(i + 1, m):
                pair = table[numbers[i, j]]
                old, new = pair[:size], pair[size : 2 * size]
                if k in (i, j):
                    new[:] = old
                    continue
                to_k, from_k = table[numbers[i, k]], table[numbers[k, j]]
                np.add(to_k[:size], from_k[:size], out=new)
                np.minimum(new, old, out=new)
    return table


def through(between: np.ndarray, via: list[int] | range) -> np.ndarray:
    """Distances between items when some items may be crossed.

    Args:
        between: unsigned int[m, m, b], direct distances, as from `compact`.
        via: items that may be crossed; all of them gives plain shortest distances.

    Returns:
        unsigned int[m, m, b].
    """
    table = between.copy()
    for k in via:
        np.minimum(table, table[:, k, None] + table[None, k], out=table)
    return table


def join(first: np.ndarray, between: np.ndarray, via: list[int] | range) -> np.ndarray:
    """Distances from cells to items when some items may be crossed.

    Args:
        first: unsigned int[r, m, b], direct distances from cells to items.
        between: unsigned int[m, m, b], distances between items when the items of
            ``via`` may be crossed.
        via: items that may be crossed.

    Returns:
        unsigned int[r, m, b].
    """
    best = first.copy()
    for k in via:
        np.minimum(best, first[:, k, None] + between[None, k], out=best)
    return best
