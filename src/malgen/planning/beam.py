"""Good plans for levels of any size, built event by event.

From each event the agent walks straight to an item that it can reach without causing
another event; every plan is such a chain, so nothing is approximated but the number
of chains kept. Source: own; beam search is Lowerre (1976).
"""

from dataclasses import dataclass

import numpy as np

from malgen.planning.distances import pack, place, steps_to
from malgen.planning.relaxation import Field, Relaxed


@dataclass(frozen=True, eq=False)
class Plans:
    """One plan for each of b levels."""

    value: np.ndarray
    """float64[b], objective units."""
    order: np.ndarray
    """int32[b, m], items in order; -1 after the last."""


def search_beam(
    field: Field,
    relaxed: Relaxed,
    horizon: np.ndarray,
    discount: float,
    ends_on_completion: bool,
    *,
    width: int,
    nearest: bool = False,
) -> Plans:
    """Extend the most promising plans until none can go on.

    Args:
        field: the levels.
        relaxed: optimistic values, by which plans are ranked.
        horizon: int[b], steps.
        discount: in (0, 1].
        ends_on_completion: whether nothing happens after the last openable chest.
        width: plans kept per level and event.
        nearest: rank by distance instead, useful items first: the agent that always
            goes to the nearest item that brings something.

    Returns:
        The best plan met on the way, at its best length; staying is worth 0.
    """
    m, b = field.first.shape
    walls = pack(~field.levels.walls)
    boards = np.stack([place(item, walls) for item in field.items])
    starts = place(field.levels.start, walls)
    key = np.arange(m) < field.num_keys
    # undiscounted, ranks still prefer what comes early
    pace = min(discount, 1 - 1 / 64)
    marks = np.random.default_rng(0).integers(1, 1 << 62, m)
    most_keys, most_chests = (size - 1 for size in relaxed.to_go.shape[:2])

    best = np.zeros(b)
    chosen = np.full(b, -1)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    total = 0

    lane = np.arange(b)
    at = np.full(b, -1)
    taken = np.zeros((b, m), bool)
    time = np.zeros(b, np.int64)
    earned, paced = np.zeros(b), np.zeros(b)
    parent = np.full(b, -1)
    for _ in range(m):
        if not len(lane):
            break
        got = taken[:, key].sum(1)
        opened = taken[:, ~key].sum(1)
        hand = field.held + got - opened
        active = ~taken & (key | (hand > 0)[:, None])
        absorb = np.zeros((walls.shape[0], len(lane)), walls.dtype)
        for item in range(m):
            absorb |= np.where(active[:, item], boards[item][:, lane], 0)
        seeds = np.where(at >= 0, boards[at, :, lane].T, starts[:, lane])
        step = steps_to(walls[:, lane], seeds, absorb, field.items[:, lane]).T
        can = active & (step > 0) & (time[:, None] + step <= horizon[lane][:, None])
        row, item = np.nonzero(can)
        source, took = lane[row], key[item]
        reward = field.reward[item, source]
        spare = hand[row] >= field.num_chests - opened[row]
        reward = reward + field.excess * (took & spare)
        then = time[row] + step[row, item]
        gained = earned[row] + discount ** (then - 1.0) * reward
        ahead = paced[row] + pace ** (then - 1.0) * reward
        a, c = got[row] + took, opened[row] + ~took
        where = (np.minimum(a, most_keys), np.minimum(c, most_chests), item, source)
        rank = ahead + pace**then * relaxed.to_go[where]
        if nearest:
            useful = np.where(took, ~spare | (reward > 0), reward > 0)
            rank = useful * 1e6 - step[row, item]
        mask = taken[row]
        mask[np.arange(len(row)), item] = True
        order = _kept(source, mask @ marks + item, rank, width)
        row, item, source, then = row[order], item[order], source[order], then[order]
        gained, ahead, mask = gained[order], ahead[order], mask[order]
        number = total + np.arange(len(row))
        history.append((parent[row], item))
        total += len(row)
        lead = np.lexsort((-gained, source))
        lead = lead[np.r_[True, source[lead][1:] != source[lead][:-1]][: len(lead)]]
        better = lead[gained[lead] > best[source[lead]] + 1e-12]
        best[source[better]] = gained[better]
        chosen[source[better]] = number[better]
        over = np.zeros(len(row), bool)
        if ends_on_completion:
            over = mask[:, ~key].sum(1) == field.last_chest
        on = ~over
        lane, at, taken, time = source[on], item[on], mask[on], then[on]
        earned, paced, parent = gained[on], ahead[on], number[on]
    return Plans(best, _unwind(history, chosen, m))


def _kept(
    source: np.ndarray, state: np.ndarray, rank: np.ndarray, width: int
) -> np.ndarray:
    """Rows to keep: the best of each state, then the best ``width`` of each level."""
    order = np.lexsort((-rank, state, source))
    if not len(order):
        return order
    new = np.ones(len(order), bool)
    new[1:] = (state[order][1:] != state[order][:-1]) | (
        source[order][1:] != source[order][:-1]
    )
    order = order[new]
    order = order[np.lexsort((-rank[order], source[order]))]
    begins = np.searchsorted(source[order], source[order], side="left")
    return order[np.arange(len(order)) - begins < width]


def _unwind(history: list, chosen: np.ndarray, m: int) -> np.ndarray:
    """Item orders of the chosen plans: int32[b, m]."""
    order = np.full((len(chosen), m), -1, np.int32)
    if not history:
        return order
    parent, item = (np.concatenate(part) for part in zip(*history, strict=True))
    depth_of = np.repeat(np.arange(len(history)), [len(part) for part, _ in history])
    some = np.flatnonzero(chosen >= 0)
    now = chosen[some]
    while len(some):
        order[some, depth_of[now]] = item[now]
        now = parent[now]
        some, now = some[now >= 0], now[now >= 0]
    return order
