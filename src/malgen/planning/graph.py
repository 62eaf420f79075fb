"""The states between events, as static index tables shared by many levels.

A state is (keys taken, chests opened, item last reached). Which states exist and
which item leads to which state depends only on how many keys, chests and held keys
there are, never on where things lie: so the tables are built once, and every level
of a batch is one lane of the same array operations. Source: own; the recursion over
visited sets is Held & Karp (1962).
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from malgen.errors import NotMeasurable
from malgen.planning.distances import pair_numbers

MAX_ITEMS = 16
"""Most keys and chests together for which all visited sets are enumerated."""

MAX_STATES = 1 << 20
"""Most states of the smaller graph that serves chest-only objectives."""


@dataclass(frozen=True, eq=False)
class Block:
    """States start:stop with equally many keys taken and chests opened.

    ``key_items`` and ``chest_items`` int[s, e] are the items that can be next;
    ``*_next`` int[s, e] the states they lead to.
    """

    start: int
    stop: int
    excess: bool
    """Whether a key picked up here is in excess."""
    key_items: np.ndarray
    key_next: np.ndarray
    chest_items: np.ndarray
    chest_next: np.ndarray


@dataclass(frozen=True, eq=False)
class Graph:
    """All states of a kind of level; s states, m items (keys first, then chests).

    States are numbered so that every event leads to a later state, block by block.
    """

    num_keys: int
    num_chests: int
    held: int
    full: bool
    """Whether keys are told apart after enough are in hand for every chest."""
    key_mask: np.ndarray
    """int32[s], keys taken as a bit set (0 where not told apart)."""
    chest_mask: np.ndarray
    """int32[s], chests opened as a bit set."""
    last: np.ndarray
    """int32[s], item reached last."""
    crossable: np.ndarray
    """int32[s], items that can be crossed, as a bit set; only for full graphs."""
    successor: np.ndarray
    """int32[s, m], state after reaching an item next; -1 if that cannot be."""
    first: np.ndarray
    """int32[m], state after reaching an item first of all; -1 if that cannot be."""
    blocks: list[Block] = field(repr=False)

    @property
    def num_items(self) -> int:
        """Keys and chests together."""
        return self.num_keys + self.num_chests

    @cached_property
    def _pairs(self) -> np.ndarray:
        m = self.num_items
        if not self.full:
            return np.arange(m * m).reshape(m, m)
        return pair_numbers(m) << m

    def row(self, state: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Rows of the distance table from states to items (arrays broadcast)."""
        rows = self._pairs[self.last[state], item]
        return rows + self.crossable[state] if self.full else rows

    @cached_property
    def keys_taken(self) -> np.ndarray:
        """int16[s], how many keys are taken; only for full graphs."""
        return np.bitwise_count(self.key_mask).astype(np.int16)

    def events_at(self, block: Block) -> int:
        """Events that led to each state of a block; only for full graphs."""
        keys, chests = self.key_mask[block.start], self.chest_mask[block.start]
        return int(np.bitwise_count(keys)) + int(np.bitwise_count(chests))

    @cached_property
    def predecessor(self) -> np.ndarray:
        """int32[s, m], state before the last event, by the item reached before."""
        table = np.full(self.successor.shape, -1, np.int32)
        state, item = np.nonzero(self.successor >= 0)
        table[self.successor[state, item], self.last[state]] = state
        return table

    def initial_inactive(self) -> list[int]:
        """Items that can be crossed before anything happened."""
        return [] if self.held else list(range(self.num_keys, self.num_items))


def _bits(masks: np.ndarray, num: int) -> np.ndarray:
    """Bit positions of masks with equally many bits: int[k] -> int[k, count]."""
    on = masks[:, None] >> np.arange(num) & 1
    return np.nonzero(on)[1].reshape(len(masks), -1) if len(masks) else on[:, :0]


class _Numbering:
    """Numbers states by (keys taken, chests opened, kind of last item)."""

    def __init__(self, num_keys: int, num_chests: int, most_keys: int):
        self.num_keys, self.num_chests = num_keys, num_chests
        self.key_sets, self.key_rank = self._ranks(num_keys, most_keys)
        self.chest_sets, self.chest_rank = self._ranks(num_chests, num_chests)
        self.offset: dict[tuple, int] = {}
        self.size = 0

    @staticmethod
    def _ranks(num: int, most: int):
        masks = np.arange(1 << num)
        count = np.bitwise_count(masks)
        sets = [masks[count == a] for a in range(min(most, num) + 1)]
        rank = np.zeros(1 << num, np.int64)
        for members in sets:
            rank[members] = np.arange(len(members))
        return sets, rank

    def add(self, kind: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number the states of (keys or None, chests, is-key) and list them."""
        a, b, by_key = kind
        chest_sets = self.chest_sets[b]
        if by_key:
            if a is None:
                lasts = np.arange(self.num_keys)[:, None]
                sets = np.zeros(self.num_keys, np.int64)
            else:
                sets = self.key_sets[a]
                lasts = _bits(sets, self.num_keys)
            each = lasts.shape[1]
            keys = np.repeat(sets, each * len(chest_sets))
            last = np.repeat(lasts.reshape(-1), len(chest_sets))
            chests = np.tile(chest_sets, len(sets) * each)
        else:
            sets = np.zeros(1, np.int64) if a is None else self.key_sets[a]
            opened = _bits(chest_sets, self.num_chests)
            keys = np.repeat(sets, opened.size)
            last = np.tile(opened.reshape(-1), len(sets)) + self.num_keys
            chests = np.tile(np.repeat(chest_sets, b), len(sets))
        self.offset[kind] = self.size
        self.size += len(last)
        return keys, chests, last

    def index(self, kind: tuple, keys, chests, last) -> np.ndarray:
        """Number of the states of one kind (arrays broadcast)."""
        a, b, by_key = kind
        chest_rank = self.chest_rank[chests]
        num_chest_sets = len(self.chest_sets[b])
        if by_key:
            if a is None:
                place = last
            else:
                below = np.bitwise_count(keys & ((1 << last) - 1))
                place = self.key_rank[keys] * a + below
            return self.offset[kind] + place * num_chest_sets + chest_rank
        below = np.bitwise_count(chests & ((1 << (last - self.num_keys)) - 1))
        key_rank = 0 if a is None else self.key_rank[keys]
        place = (key_rank * num_chest_sets + chest_rank) * b + below
        return self.offset[kind] + place


@lru_cache(maxsize=64)
def build(
    num_keys: int, num_chests: int, held: int, ends_on_completion: bool, full: bool
) -> Graph:
    """Build the state graph of a kind of level.

    Args:
        num_keys: keys on the floor.
        num_chests: unopened chests.
        held: keys in hand, at most ``num_chests``.
        ends_on_completion: whether nothing happens after the last openable chest.
        full: tell all visited sets apart. Otherwise keys are no longer told apart
            once enough are in hand for every chest, which is exact when only chests
            count, and keys are then not listed as next items in ``blocks``.

    Returns:
        The graph.

    Raises:
        NotMeasurable: there are too many items to enumerate.
    """
    num_items = num_keys + num_chests
    if full and num_items > MAX_ITEMS:
        raise NotMeasurable(
            f"A level has {num_keys} keys and {num_chests} chests, but exact planning "
            f"for this objective enumerates at most {MAX_ITEMS} items; use fewer items."
        )
    enough = max(0, num_chests - held)
    most_chests = min(num_chests, held + num_keys)
    most_keys = num_keys if full else min(num_keys, enough)
    if max(num_keys, num_chests) > 20:
        raise NotMeasurable(
            f"A level has {num_keys} keys and {num_chests} chests, but exact planning "
            "handles at most 20 of each; use fewer items."
        )

    def ended(b: int) -> bool:
        return b == most_chests if ends_on_completion else False

    kinds = []
    for b in range(most_chests + 1):
        counts: list[int | None] = [
            a for a in range(most_keys + 1) if full or a < enough
        ]
        if not full and held + num_keys >= num_chests:
            counts.append(None)
        for a in counts:
            taken = enough if a is None else a
            many = num_keys if a is None else a
            if many >= 1 and not ended(b) and held + many - 1 >= b:
                kinds.append((a, b, True))
            if b >= 1 and held + (num_keys if a is None else taken) >= b:
                kinds.append((a, b, False))
    numbering = _Numbering(num_keys, num_chests, most_keys)
    states = 0
    parts = []
    for kind in kinds:
        parts.append(numbering.add(kind))
        states = numbering.size
        if states > MAX_STATES:
            raise NotMeasurable(
                f"A level has {num_keys} keys and {num_chests} chests, which gives "
                f"more than {MAX_STATES} states; use fewer items."
            )
    successor = np.full((states, num_items), -1, np.int32)
    key_mask = np.zeros(states, np.int32)
    chest_mask = np.zeros(states, np.int32)
    last_item = np.zeros(states, np.int32)
    crossable = np.zeros(states, np.int32)
    blocks = []
    all_chests = (1 << num_chests) - 1
    known = set(kinds)

    def after_key(a):
        if a is None or (not full and a + 1 >= enough):
            return None
        return a + 1

    for kind, (keys, chests, last) in zip(kinds, parts, strict=True):
        a, b, _ = kind
        start = numbering.offset[kind]
        rows = slice(start, start + len(last))
        key_mask[rows], chest_mask[rows], last_item[rows] = keys, chests, last
        holds = (enough if a is None else a) + held - b > 0 or a is None
        if full:
            crossable[rows] = keys | (chests if holds else all_chests) << num_keys
        empty = np.zeros((len(last), 0), np.int64)
        key_items = key_next = chest_items = chest_next = empty
        if not ended(b):
            then = (after_key(a), b, True)
            if then in known:
                left = (1 << num_keys) - 1 & ~keys
                items = _bits(left, num_keys)
                grown = keys[:, None] | 1 << items if then[0] is not None else items * 0
                following = numbering.index(then, grown, chests[:, None], items)
                successor[np.arange(start, rows.stop)[:, None], items] = following
                if full or a is not None:
                    key_items, key_next = items, following
            then = (a, b + 1, False)
            if holds and then in known:
                left = all_chests & ~chests
                items = _bits(left, num_chests)
                grown = chests[:, None] | 1 << items
                items = items + num_keys
                following = numbering.index(then, keys[:, None], grown, items)
                successor[np.arange(start, rows.stop)[:, None], items] = following
                chest_items, chest_next = items, following
        excess = a is None or a >= enough
        blocks.append(
            Block(
                start,
                rows.stop,
                excess,
                key_items.astype(np.int32),
                key_next.astype(np.int32),
                chest_items.astype(np.int32),
                chest_next.astype(np.int32),
            )
        )
    first = np.full(num_items, -1, np.int32)
    none = (None if not full and enough == 0 else 0, 0)
    if not ended(0):
        for item in range(num_items):
            if item < num_keys:
                kind = (after_key(none[0]), 0, True)
                keys, chests = 1 << item if kind[0] is not None else 0, 0
            else:
                kind = (none[0], 1, False)
                keys, chests = 0, 1 << (item - num_keys)
                if held == 0:
                    continue
            if kind in known:
                at = numbering.index(
                    kind, np.int64(keys), np.int64(chests), np.int64(item)
                )
                first[item] = at
    return Graph(
        num_keys,
        num_chests,
        held,
        full,
        key_mask,
        chest_mask,
        last_item,
        crossable,
        successor,
        first,
        blocks,
    )
