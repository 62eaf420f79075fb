"""Discounted values of all states, backward, for many levels at once.

``V(s) = max(0, max_q discount**(d-1) * (r_q + discount * V(s_q)))``: an item that is
d steps away is reached by the action of step d - 1 (steps count from 0), so its
reward carries the weight ``discount**(d-1)``; stopping is worth 0. Source: own;
a semi-Markov Bellman equation (Sutton, Precup & Singh 1999) over item tours.
"""

from dataclasses import dataclass

import numpy as np

from malgen.planning.graph import Graph
from malgen.planning.problem import Weights

TIES_BY_EXCESS = Weights(excess=1.0)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some levels of one kind with everything the engines look up; b levels."""

    graph: Graph
    distance: np.ndarray
    """unsigned int[rows, b], step counts; rows as numbered by ``graph.row``."""
    first: np.ndarray
    """unsigned int[r, m, b], steps from each root cell to the items."""
    hit: np.ndarray
    """int[r, b], active item on the root cell, -1 if none."""
    far: int
    """The number that stands for "no path"."""
    reward: np.ndarray
    """float64[m, b], reward of each item when not in excess."""
    uniform: bool
    """Whether all keys of a level, and all chests, have the same reward."""
    excess: float
    """Further reward of a key in excess."""
    between: np.ndarray | None = None
    """int32[1 + m, m, b] bit sets of keys on shortest paths, from the first root
    (entry 0) and from items; None where routes avoid items anyway."""
    flagged: np.ndarray | None = None
    """int64[b], bit set of the flagged keys."""
    tie_weights: Weights = TIES_BY_EXCESS
    """What ties are broken by; only ``excess`` and ``flagged`` count."""

    def tie_score(self, keys: np.ndarray, lane: np.ndarray) -> np.ndarray:
        """Thousandths of harm of plans that hold a set of keys: int64[p].

        Args:
            keys: int64[p], bit sets of the keys taken.
            lane: int[p], level of each plan.
        """
        enough = max(0, self.graph.num_chests - self.graph.held)
        harm = self.tie_weights.excess * np.maximum(
            np.bitwise_count(keys).astype(np.int64) - enough, 0
        )
        if self.tie_weights.flagged:
            assert self.flagged is not None  # given with weights that ask for it
            marked = np.bitwise_count(keys & self.flagged[lane])
            harm = harm + self.tie_weights.flagged * marked
        return np.rint(1000 * harm).astype(np.int64)


def rewards(
    weights: Weights, flagged: np.ndarray, owned: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Reward of each item.

    Args:
        weights: event rewards.
        flagged: bool[k, b], which keys are flagged.
        owned: bool[c, b], which chests are owned.

    Returns:
        float64[k + c, b], and whether it is the same for all keys and all chests.
    """
    keys = weights.key + weights.flagged * flagged
    chests = weights.chest + weights.owned * owned
    uniform = not (
        (weights.flagged and flagged.any()) or (weights.owned and owned.any())
    )
    return np.concatenate([keys, chests]).astype(np.float64), uniform


def powers(discount: float, far: int) -> np.ndarray:
    """Weight ``discount**(d-1)`` of an event d steps away; 0 where there is no path.

    Args:
        discount: in (0, 1].
        far: the number that stands for "no path".

    Returns:
        float64[2 * far + 2].
    """
    table = discount ** (np.arange(2 * far + 2, dtype=np.float64) - 1)
    table[far:] = 0
    return table


def backward(chunk: Chunk, discount: float, events: int | None = None) -> np.ndarray:
    """Optimal value of every state of every level, without a horizon.

    Args:
        chunk: the levels.
        discount: in (0, 1].
        events: nothing counts after so many events since the start (only for full
            graphs); None: all of them count.

    Returns:
        float64[s, b], objective units, weighted from the time the state is reached.
    """
    graph, b = chunk.graph, chunk.distance.shape[1]
    weight = powers(discount, chunk.far)
    value = np.zeros((len(graph.last), b))
    rows_at_once = max(1, (1 << 17) // max(1, b))
    none = np.zeros(b)
    key_reward = chunk.reward[0] if graph.num_keys else none
    chest_reward = chunk.reward[-1] if graph.num_chests else none
    for block in reversed(graph.blocks):
        if events is not None and graph.events_at(block) >= events:
            continue
        edges = [
            (block.key_items, block.key_next, True),
            (block.chest_items, block.chest_next, False),
        ]
        for items, following, by_key in edges:
            each = items.shape[1]
            if not each:
                continue
            step = max(1, rows_at_once // each)
            for low in range(0, len(items), step):
                part = slice(low, min(low + step, len(items)))
                at = slice(block.start + part.start, block.start + part.stop)
                item = items[part].reshape(-1)
                worth = value.take(following[part].reshape(-1), 0)
                worth *= discount
                if chunk.uniform:
                    reward = key_reward if by_key else chest_reward
                else:
                    reward = chunk.reward.take(item, 0)
                if by_key and block.excess and chunk.excess:
                    reward = reward + chunk.excess
                worth += reward
                states = np.arange(at.start, at.stop)[:, None]
                row = graph.row(states, items[part]).reshape(-1)
                worth *= weight.take(chunk.distance.take(row, 0))
                best = worth.reshape(-1, each, b).max(1)
                np.maximum(value[at], best, out=value[at])
    return value


def root_values(chunk: Chunk, value: np.ndarray, discount: float) -> np.ndarray:
    """Optimal value of every root cell.

    Args:
        chunk: the levels.
        value: float64[s, b], as from `backward`.
        discount: in (0, 1].

    Returns:
        float64[r, b], weighted from the time the agent is at the root cell. An
        active item on the cell was reached by the action before, so its reward
        carries the weight 1 / discount.
    """
    graph = chunk.graph
    weight = powers(discount, chunk.far)
    can = graph.first >= 0
    worth = np.zeros_like(chunk.reward)
    worth[can] = chunk.reward[can] + discount * value[graph.first[can]]
    if chunk.excess and graph.held >= graph.num_chests:
        worth[: graph.num_keys] += chunk.excess
    each = weight[chunk.first] * np.where(can[:, None], worth, 0.0)
    best = np.maximum(each.max(1, initial=0.0), 0.0)
    forced = np.take_along_axis(worth, np.maximum(chunk.hit, 0), 0) / discount
    return np.where(chunk.hit >= 0, forced, best)


def greedy_plan(
    chunk: Chunk, value: np.ndarray, discount: float, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One plan that attains the values, ignoring any horizon.

    Args:
        chunk: the levels.
        value: float64[s, b], as from `backward`.
        discount: in (0, 1].
        root: int[p], root cell of each plan; plan i is for level ``i % b``.

    Returns:
        int32[p, m] items in order, -1 after the last, and int[p] steps.
    """
    graph, b = chunk.graph, value.shape[1]
    m, num = graph.num_items, len(root)
    weight = powers(discount, chunk.far)
    key_item = np.arange(m) < graph.num_keys
    enough = max(0, graph.num_chests - graph.held)
    plan = np.full((num, m), -1, np.int32)
    steps = np.zeros(num, np.int64)
    going = np.arange(num)
    state = np.full(num, -1, np.int64)
    taken = np.zeros(num, np.int64)
    for event in range(m):
        lane = going % b
        if event == 0:
            following = np.broadcast_to(graph.first, (num, m))
            distance = chunk.first[root, :, lane].astype(np.int64)
            hit = chunk.hit[root, lane][:, None]
            at_hit = np.arange(m) == hit
            distance = np.where(hit >= 0, np.where(at_hit, 0, chunk.far), distance)
        else:
            following = graph.successor[state]
            row = graph.row(state[:, None], np.arange(m))
            distance = chunk.distance[row, lane[:, None]].astype(np.int64)
            hit = np.full((len(going), 1), -1)
        can = (following >= 0) & (distance < chunk.far)
        can &= ~((taken[:, None] >> np.arange(m) & 1 == 1) & key_item)
        gain = chunk.reward[:, lane].T
        if chunk.excess:
            spare = np.bitwise_count(taken) >= enough
            gain = gain + chunk.excess * (key_item & spare[:, None])
        to_go = value[np.maximum(following, 0), lane[:, None]]
        worth = np.where(can, weight[distance] * (gain + discount * to_go), -np.inf)
        item = worth.argmax(1)
        rows = np.arange(len(going))
        go = (worth[rows, item] > 1e-12) | (hit[:, 0] >= 0)
        rows, item = rows[go], item[go]
        going, taken = going[go], taken[go] | np.where(key_item[item], 1 << item, 0)
        plan[going, event] = item
        steps[going] += distance[rows, item]
        state = following[rows, item].astype(np.int64)
    return plan, steps
