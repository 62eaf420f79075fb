"""Many levels of Keys and Chests at once: the same levels as one by one, faster.

``KeysAndChestsLevels.attempt`` says what a level is; this file draws the same levels,
bit for bit, in another way. A minimum spanning tree is the same tree however it is
found, the first items in random order need no full order, and the greedy tour that
certifies a level only needs to be followed until the limit. So trees grow by Prim's
algorithm with the levels side by side in memory, and tours are followed on bit boards
(one bit per cell), where a breadth-first step of a whole level is a few shifts.

On the host because XLA's CPU code for these loops over small numbers is slower than
NumPy's; only the random words are made in JAX. Threads share the work.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from os import cpu_count
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, UInt32, UInt64
from scipy import ndimage

from malgen.grid import mazes

# Levels that one thread works on: what it touches fits the cache.
CHUNK = 4096
# Fewer levels (the ones drawn again) are rounded up to this, so two sizes compile.
FEW = 256

UNIT = np.float32(2.0**-23)


@dataclass(frozen=True)
class Recipe:
    """What levels to draw, in plain numbers; see ``KeysAndChestsLevels``."""

    height: int
    width: int
    layout: str
    num_keys: int
    num_chests: int
    num_flagged: int
    num_owned: int
    openness: np.ndarray
    density: np.ndarray
    solvable_within: int
    room: int
    tries: int


class Drawn(NamedTuple):
    """Levels [b, ...] as NumPy arrays, and which are solvable."""

    walls: Bool[np.ndarray, "b h w"]
    start: Int[np.ndarray, "b 2"]
    keys: Bool[np.ndarray, "b h w"]
    chests: Bool[np.ndarray, "b h w"]
    flagged: Bool[np.ndarray, "b h w"]
    owned: Bool[np.ndarray, "b h w"]
    solved: Bool[np.ndarray, " b"]


def supports(keys: Key[Array, " b"], width: int) -> bool:
    """Whether ``draw`` can be used: threefry keys, and a row fits one word."""
    return (
        width <= 65
        and keys.ndim == 1
        and str(jax.random.key_impl(keys)) == "threefry2x32"
        and bool(getattr(jax.config, "jax_threefry_partitionable"))  # noqa: B009
    )


def draw(keys: Key[Array, " b"], recipe: Recipe) -> Drawn:
    """The levels that ``attempt`` gives for these keys, and whether it solved them."""
    data = np.asarray(jax.random.key_data(keys))
    number, shape = len(data), (recipe.height, recipe.width)

    def blank():
        return np.zeros((number, *shape), bool)

    found = Drawn(
        walls=blank(),
        start=np.zeros((number, 2), np.int32),
        keys=blank(),
        chests=blank(),
        flagged=blank(),
        owned=blank(),
        solved=np.zeros(number, bool),
    )

    def work(begin: int) -> None:
        part = slice(begin, begin + CHUNK)
        _draw_chunk(data[part], recipe, Drawn(*(array[part] for array in found)))

    begins = range(0, number, CHUNK)
    if len(begins) < 2:
        for begin in begins:
            work(begin)
    else:
        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(work, begins))
    return found


def _draw_chunk(data: np.ndarray, recipe: Recipe, found: Drawn) -> None:
    """Draw until solved, at most ``recipe.tries`` times; fills ``found``."""
    left = np.arange(len(data))
    for attempt in range(recipe.tries):
        once = _draw_once(data[left], attempt, recipe)
        if attempt == 0:
            for whole, part in zip(found, once, strict=True):
                whole[:] = part
        else:
            for whole, part in zip(found, once, strict=True):
                whole[left] = part
        left = left[~once.solved]
        if not len(left):
            return


def _draw_once(data: np.ndarray, attempt: int, recipe: Recipe) -> Drawn:
    number = len(data)
    height, width = recipe.height, recipe.width
    cells = _candidates(recipe)
    words = _words(data, attempt, recipe, cells)
    walls = _walls(words, recipe)
    floor = _largest_areas(walls, recipe) if recipe.layout == "blocks" else ~walls
    room = recipe.num_keys + recipe.num_chests + 1

    # The first items of a random order; cells that are no floor come last.
    bits = (len(cells) - 1).bit_length()
    kind = np.uint32 if bits + 24 <= 32 else np.uint64
    scores = words.items.astype(kind, copy=False)
    if recipe.layout != "open" or len(cells) == height * width:
        scores = np.where(floor[:, cells], scores, kind(1 << 23))
    scores = scores << kind(bits) | np.arange(len(cells), dtype=kind)
    scores.sort(axis=1)
    taken = cells[(scores[:, :room] & kind((1 << bits) - 1)).astype(np.intp)]
    start = taken[:, 0]
    key_cells = taken[:, 1 : 1 + recipe.num_keys]
    chest_cells = taken[:, 1 + recipe.num_keys :]

    fits = np.ones(number, bool)
    if len(cells) == height * width:
        fits = np.count_nonzero(floor, axis=1) >= room
    keys = _marked(key_cells, recipe) & fits[:, None]
    chests = _marked(chest_cells, recipe)
    flagged = _some(words.flags, key_cells, recipe.num_flagged, recipe)
    owned = _some(words.owned, chest_cells, recipe.num_owned, recipe)
    complete = fits | (recipe.num_keys == 0)
    solved = complete & _solvable(walls, start, key_cells, chest_cells, recipe)
    shape = (number, height, width)
    return Drawn(
        walls.reshape(shape),
        np.stack([start // width, start % width], axis=1).astype(np.int32),
        keys.reshape(shape),
        chests.reshape(shape),
        (flagged & fits[:, None]).reshape(shape),
        owned.reshape(shape),
        solved,
    )


def _candidates(recipe: Recipe) -> Int[np.ndarray, " c"]:
    """Flat indices of the cells where items may come to lie, ascending."""
    height, width = recipe.height, recipe.width
    everywhere = np.arange(height * width)
    needed = recipe.num_keys + recipe.num_chests + 1
    if recipe.layout == "blocks" or needed > recipe.room:
        return everywhere
    if recipe.layout == "open":
        return np.flatnonzero(~mazes.border(height, width))
    _, doors, base = mazes.lattice(height, width)
    may_open = ~base
    may_open[doors[:, 0], doors[:, 1]] = True
    return np.flatnonzero(may_open)


def _marked(cells: Int[np.ndarray, "b k"], recipe: Recipe) -> Bool[np.ndarray, "b c"]:
    return _scattered(cells, recipe.height * recipe.width)


def _scattered(where: Int[np.ndarray, "b k"], size: int) -> Bool[np.ndarray, "b n"]:
    """True at the given columns of each row."""
    marks = np.zeros((len(where), size), bool)
    marks.reshape(-1)[where + np.arange(len(where))[:, None] * size] = True
    return marks


def _some(random, cells, count: int, recipe: Recipe) -> Bool[np.ndarray, "b c"]:
    """Marks on ``count`` of the cells, those with the smallest random numbers."""
    count = min(count, cells.shape[1])
    if count == 0:
        return np.zeros((len(cells), recipe.height * recipe.width), bool)
    # equal numbers: the earlier cell comes first
    order = np.lexsort((cells, random(cells)), axis=1)[:, :count]
    return _marked(np.take_along_axis(cells, order, axis=1), recipe)


# --- random words ---------------------------------------------------------------------


class _Words(NamedTuple):
    """Random numbers of a batch, 23 bits each, as ``jax.random`` makes them."""

    tree: UInt32[np.ndarray, "b e"]
    open: UInt32[np.ndarray, "b e"]
    cells: UInt32[np.ndarray, "b c"]
    items: UInt32[np.ndarray, "b c"]
    flags: Callable
    owned: Callable


def _words(data: np.ndarray, attempt: int, recipe: Recipe, cells: np.ndarray) -> _Words:
    number = len(data)
    size = CHUNK if number > FEW else FEW
    data = np.pad(data, ((0, size - number), (0, 0)))
    edges = 0
    if recipe.layout in ("tree", "braided"):
        edges = len(mazes.lattice(recipe.height, recipe.width)[0])
    everywhere = recipe.height * recipe.width if recipe.layout == "blocks" else 0
    tree, opened, walls, items, flags, owned = _random_words(
        data,
        np.uint32(attempt),
        np.arange(edges, dtype=np.uint32),
        np.arange(everywhere, dtype=np.uint32),
        cells.astype(np.uint32),
    )

    def at(key):
        def numbers(where):
            where = np.pad(where, ((0, size - number), (0, 0))).astype(np.uint32)
            return np.asarray(_random_at(key, where))[:number]

        return numbers

    tree, opened, walls, items = (
        np.asarray(words)[:number] for words in (tree, opened, walls, items)
    )
    return _Words(tree, opened, walls, items, at(flags), at(owned))


@jax.jit
def _random_words(data, attempt, edges, everywhere, cells):
    """What ``attempt`` draws from its keys; keys are pairs of words."""
    key = _fold_in((data[:, 0], data[:, 1]), attempt)
    key_walls, key_items, key_flags, key_owned = _split(key, 4)
    key_tree, key_open = _split(key_walls, 2)
    return (
        _numbers(key_tree, edges[None]),
        _numbers(key_open, edges[None]),
        _numbers(key_walls, everywhere[None]),
        _numbers(key_items, cells[None]),
        key_flags,
        key_owned,
    )


@jax.jit
def _random_at(key, counters):
    return _numbers(key, counters)


def _fold_in(key, number):
    """``jax.random.fold_in`` for pairs of words [b]."""
    return _threefry(key, jnp.asarray(number, jnp.uint32))


def _split(key, number):
    """``jax.random.split`` for pairs of words [b]."""
    first, second = _threefry(
        (key[0][:, None], key[1][:, None]), jnp.arange(number, dtype=jnp.uint32)
    )
    return [(first[:, i], second[:, i]) for i in range(number)]


def _numbers(key, counters):
    """``jax.random.uniform(key, n)[counters]`` times 2**23, exactly."""
    first, second = _threefry((key[0][:, None], key[1][:, None]), counters)
    return (first ^ second) >> 9


def _threefry(key, counter):
    """Threefry-2x32-20 of the block (0, counter).

    JAX's own lowering for CPUs loops over the rounds and is 2.5 times slower.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    schedule = (*key, key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    first, second = schedule[0], counter + schedule[1]
    for block in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[block % 2]:
            first = first + second
            second = (second << turn) | (second >> (32 - turn))
            second = first ^ second
        first = first + schedule[(block + 1) % 3]
        second = second + schedule[(block + 2) % 3] + jnp.uint32(block + 1)
    return first, second


# --- walls ----------------------------------------------------------------------------


def _walls(words: _Words, recipe: Recipe) -> Bool[np.ndarray, "b c"]:
    height, width = recipe.height, recipe.width
    number = len(words.items)
    if recipe.layout == "open":
        return np.tile(mazes.border(height, width).ravel(), (number, 1))
    if recipe.layout == "blocks":
        inner = words.cells.astype(np.float32) * UNIT < recipe.density
        return mazes.border(height, width).ravel() | inner
    edges, doors, base = mazes.lattice(height, width)
    walls = np.tile(base.ravel(), (number, 1))
    if len(edges):
        passage = _trees(words.tree, (height - 1) // 2, (width - 1) // 2, edges)
        if recipe.layout == "braided":
            passage |= words.open.astype(np.float32) * UNIT < recipe.openness
        walls[:, doors[:, 0] * width + doors[:, 1]] = ~passage
    return walls


def _trees(
    weights: UInt32[np.ndarray, "b e"], rows: int, columns: int, edges: np.ndarray
) -> Bool[np.ndarray, "b e"]:
    """Minimum spanning trees of the lattice; of equal weights the first is lighter."""
    number, many = weights.shape
    bits = (many - 1).bit_length()
    kind = np.uint32 if bits + 23 <= 32 else np.uint64
    order = weights.astype(kind) << kind(bits) | np.arange(many, dtype=kind)
    order.sort(axis=1)
    order &= kind((1 << bits) - 1)

    # Rooms are numbered row by row, so an edge leads from a room to the next one or to
    # the one a row below. Edges that lead nowhere keep merit 0.
    rooms = rows * columns
    across = rooms - 1
    slot = np.where(edges[:, 1] - edges[:, 0] == 1, 0, across) + edges[:, 0]
    if columns == 1:
        slot = edges[:, 0]  # one column: the room below is the next one
    slots = across + (rooms - columns if columns > 1 else 0)
    small = np.uint8 if many < 256 else np.uint16
    merit = np.zeros((number, slots), small)
    where = slot.astype(np.intp)[order.astype(np.intp)]
    where += (np.arange(number) * slots)[:, None]
    merit.reshape(-1)[where] = np.arange(many, 0, -1, dtype=small)
    merit = np.ascontiguousarray(merit.T)

    # Prim: all bits of a room's number are set once the tree has reached it.
    inside = np.zeros((rooms, number), small)
    inside[0] = ~small(0)
    tree, crossing = np.zeros_like(merit), np.empty_like(merit)
    best, chosen = np.empty(number, small), np.empty(merit.shape, bool)
    added = np.empty_like(merit)
    for _ in range(rooms - 1):
        np.bitwise_xor(inside[1:], inside[:-1], out=crossing[:across])
        if columns > 1:
            np.bitwise_xor(inside[columns:], inside[:-columns], out=crossing[across:])
        crossing &= merit
        np.maximum.reduce(crossing, axis=0, out=best)
        np.equal(crossing, best, out=chosen)
        np.multiply(chosen.view(np.uint8), ~small(0), out=added)
        tree |= added
        inside[1:] |= added[:across]
        inside[:-1] |= added[:across]
        if columns > 1:
            inside[columns:] |= added[across:]
            inside[:-columns] |= added[across:]
    return np.ascontiguousarray(tree[slot].T) != 0


def _largest_areas(walls: Bool[np.ndarray, "b c"], recipe: Recipe):
    """``paths.largest_component`` of each level."""
    number = len(walls)
    grids = ~walls.reshape(number, recipe.height, recipe.width)
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    labels, areas = ndimage.label(grids, cross)
    labels = labels.reshape(number, -1)
    sizes = np.bincount(labels.ravel(), minlength=areas + 1)
    sizes[0] = 0
    # equally large areas: the one whose last cell comes first
    cells = walls.shape[1]
    last = np.zeros(areas + 1, np.int64)
    last[labels.ravel()] = np.tile(np.arange(cells), number)
    score = (sizes * cells - last)[labels]
    score[labels == 0] = -1
    best = np.take_along_axis(labels, score.argmax(axis=1)[:, None], axis=1)
    return (labels == best) & (labels > 0)


# --- certificate ----------------------------------------------------------------------


class _Board(NamedTuple):
    """How a level's interior lies in words: ``stride`` bits per row."""

    words: int
    stride: int
    bit: Int[np.ndarray, " c"]


@cache
def _board(height: int, width: int) -> _Board:
    stride = max(8, 1 << (width - 2).bit_length())
    words = -(-(height - 2) * stride // 64)
    row, column = np.divmod(np.arange(height * width), width)
    bit = (row - 1) * stride + column - 1
    border = mazes.border(height, width).ravel()
    return _Board(words, stride, np.where(border, words * 64 - 1, bit))


def _packed(marks: Bool[np.ndarray, "b n"]) -> UInt64[np.ndarray, "w b"]:
    packed = np.packbits(marks, axis=1, bitorder="little")
    return np.ascontiguousarray(packed.view("<u8").T)


def _solvable(walls, start, keys, chests, recipe: Recipe) -> Bool[np.ndarray, " b"]:
    """Whether ``greedy_tour`` opens what can be opened within the limit.

    All tours are followed side by side, one cell per round; a tour that arrives at
    its target goes on from there in the next round.
    """
    number = len(walls)
    legs = 2 * min(recipe.num_keys, recipe.num_chests)
    if legs == 0:
        return np.ones(number, bool)
    board = _board(recipe.height, recipe.width)

    def bits(cells):
        return _packed(_scattered(board.bit[cells], board.words * 64))

    rows, columns = recipe.height - 2, recipe.width - 2
    inside = np.zeros((number, board.words * 64 // board.stride, board.stride), bool)
    np.logical_not(
        walls.reshape(number, recipe.height, recipe.width)[:, 1:-1, 1:-1],
        out=inside[:, :rows, :columns],
    )
    floor = _packed(inside.reshape(number, -1))
    here, goals = bits(start[:, None]), bits(keys)
    items = goals | bits(chests)
    left = np.full(number, legs)
    solved, index = np.zeros(number, bool), np.arange(number)
    step, carry, one = (np.uint64(n) for n in (board.stride, 64 - board.stride, 1))
    for clock in range(recipe.solvable_within):
        near = here + here
        near |= here >> one
        near |= here << step
        near |= here >> step
        near[1:] |= here[:-1] >> carry
        near[:-1] |= here[1:] << carry
        here |= near
        here &= floor
        # the first target in reading order: the lowest bit of the first word with any
        target = here & goals
        target &= ~target + one
        found = target[0] != 0
        for word in target[1:]:
            word *= ~found
            found |= word != 0
        # who arrived goes on from there: empty-handed to a key, else to a chest
        going = found.astype(np.uint64) - one
        here &= going
        here |= target
        goals ^= target
        items ^= target
        goals ^= items & ~going
        left -= found
        if clock % 4 == 3:
            on = left > 0
            still = np.count_nonzero(on)
            if still < 0.8 * len(on):
                solved[index[~on]] = True
                if not still:
                    return solved
                index, left = index[on], left[on]
                here, goals, items, floor = (
                    np.ascontiguousarray(a[:, on]) for a in (here, goals, items, floor)
                )
    solved[index[left <= 0]] = True
    return solved
