"""Undiscounted objectives with a deadline: earliest arrival at every visited set.

Without discount only *which* events happen counts, so it is enough to know the
earliest time at which each state can be reached. Source: own; the forward recursion
is Held & Karp (1962).
"""

import numpy as np

from malgen.planning.graph import Graph
from malgen.planning.values import Chunk

NEVER = 30000
"""Stands for "cannot be reached"."""


def classes(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """Group states, in order, so that all states of a class earned the same.

    Args:
        chunk: the levels; its graph is full.

    Returns:
        int[c], the first state of each class, and float64[c, b], what has been earned
        there, objective units, undiscounted.
    """
    graph = chunk.graph
    if chunk.uniform:
        begins = np.array([block.start for block in graph.blocks])
        opened = np.bitwise_count(graph.chest_mask[begins])
        counts = np.stack([graph.keys_taken[begins], opened], 1)
        reward = np.zeros((2, chunk.reward.shape[1]))
        reward[0] = chunk.reward[0] if graph.num_keys else 0.0
        reward[1] = chunk.reward[-1] if graph.num_chests else 0.0
        total = counts.astype(float) @ reward
    else:
        begins = np.arange(len(graph.last))
        masks = graph.key_mask | graph.chest_mask << graph.num_keys
        on = (masks[:, None] >> np.arange(graph.num_items) & 1).astype(float)
        total = on @ chunk.reward
    if chunk.excess:
        total += chunk.excess * excess_of(graph)[begins, None]
    return begins, total


def excess_of(graph: Graph) -> np.ndarray:
    """int16[s], keys taken in excess on the way to each state of a full graph."""
    return np.maximum(
        0, graph.keys_taken - max(0, graph.num_chests - graph.held)
    ).astype(np.int16)


def forward(
    chunk: Chunk, roots: slice, absorbing: np.ndarray | None = None
) -> np.ndarray:
    """Earliest arrival time at each state.

    Args:
        chunk: the levels; its graph is full and "no path" is coded as 255 or more.
        roots: the root cells to begin from.
        absorbing: bool[s, b], states that are not left; none if not given.

    Returns:
        uint16[s, r, b], steps; `NEVER` or more where a state cannot be reached.
    """
    graph = chunk.graph
    first, hit = chunk.first[roots], chunk.hit[roots]
    r, m, b = first.shape
    arrival = np.full((len(graph.last), r, b), NEVER, np.uint16)
    # widened first: NEVER does not fit into the narrow type of the distances
    steps = np.where(first >= chunk.far, np.uint16(NEVER), first.astype(np.uint16))
    items = np.arange(m)[None, :, None]
    struck = hit[:, None] >= 0
    steps = np.where(struck, np.where(hit[:, None] == items, 0, NEVER), steps)
    can = graph.first >= 0
    arrival[graph.first[can]] = np.moveaxis(steps[:, can], 1, 0)
    leaving = arrival if absorbing is None else arrival.copy()
    rows_at_once = max(1, (1 << 17) // max(1, r * b))
    for block in graph.blocks:
        if absorbing is not None:
            at = slice(block.start, block.stop)
            leaving[at] = np.where(absorbing[at, None], NEVER, arrival[at])
        before = graph.predecessor[block.start : block.stop]
        if not len(before):
            continue
        each = int((before[0] >= 0).sum())
        if not each:
            continue
        before = before[before >= 0].reshape(-1, each)
        step = max(1, rows_at_once // each)
        for low in range(0, len(before), step):
            part = before[low : low + step]
            at = slice(block.start + low, block.start + low + len(part))
            row = graph.row(part, graph.last[at, None])
            time = leaving.take(part.reshape(-1), 0)
            time += chunk.distance.take(row.reshape(-1), 0)[:, None]
            best = time.reshape(len(part), each, r, b).min(1)
            np.minimum(best, NEVER, out=arrival[at])
            if absorbing is not None:
                leaving[at] = np.where(absorbing[at, None], NEVER, arrival[at])
    return arrival


def trace(
    chunk: Chunk,
    arrival: np.ndarray,
    absorbing: np.ndarray | None,
    state: np.ndarray,
) -> np.ndarray:
    """Item order of an earliest way to given states from the first root.

    Args:
        chunk: the levels.
        arrival: uint16[s, b], as from `forward` for the first root.
        absorbing: what `forward` was given.
        state: int[b], the state to end in; -1 for none.

    Returns:
        int32[b, m], items in order, -1 after the last.
    """
    graph = chunk.graph
    b, m = len(state), graph.num_items
    backward_items = np.full((b, m), -1, np.int32)
    lanes = np.arange(b)
    state = state.copy()
    for event in range(m):
        lane = lanes[state >= 0]
        if not len(lane):
            break
        now = state[lane]
        item = graph.last[now]
        backward_items[lane, event] = item
        before = graph.predecessor[now]
        safe = np.maximum(before, 0)
        left = arrival[safe, lane[:, None]].astype(np.int32)
        if absorbing is not None:
            left = np.where(absorbing[safe, lane[:, None]], NEVER, left)
        row = graph.row(safe, item[:, None])
        left += chunk.distance[row, lane[:, None]]
        fits = (before >= 0) & (left == arrival[now, lane][:, None])
        found = fits.any(1)
        state[lane] = np.where(found, before[np.arange(len(lane)), fits.argmax(1)], -1)
    length = (backward_items >= 0).sum(1)
    column = length[:, None] - 1 - np.arange(m)
    order = np.take_along_axis(backward_items, np.maximum(column, 0), 1)
    return np.where(column >= 0, order, -1)
