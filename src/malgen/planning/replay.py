"""From the order of events to the actions of the agent."""

import numpy as np

from malgen.planning.distances import flood, pack, place
from malgen.planning.problem import MOVES, STAY


def replay(
    walls: np.ndarray,
    start: np.ndarray,
    items: np.ndarray,
    num_keys: int,
    held: int,
    order: np.ndarray,
    horizon: int,
) -> np.ndarray:
    """Walk shortest paths from item to item that trigger no other event.

    Args:
        walls: bool[b, h, w].
        start: int[b, 2].
        items: int[m, b, 2], cells of the items, keys first.
        num_keys: how many of the items are keys.
        held: keys in hand at the start.
        order: int[b, e], items in order, -1 after the last.
        horizon: number of actions to give.

    Returns:
        int8[b, horizon], actions; 4 (stay) after the last event.
    """
    actions = np.full((len(walls), horizon), STAY, np.int8)
    legs = int((order >= 0).sum(1).max(initial=0))
    if not legs or not horizon:
        return actions
    b, m = len(walls), len(items)
    lanes = np.arange(b)
    passable = pack(~walls)
    one = passable.dtype.type(1)
    boards = np.stack([place(item, passable) for item in items])
    free = np.empty((passable.shape[0], legs, b), passable.dtype)
    goals = np.zeros_like(free)
    left = np.ones((m, b), bool)
    in_hand = np.full(b, held)
    target = np.zeros((legs, b, 2), np.int64)
    for leg in range(legs):
        item = order[:, leg]
        some = item >= 0
        item = np.maximum(item, 0)
        active = left.copy()
        active[num_keys:] &= in_hand > 0
        active[item, lanes] = False
        blocked = np.bitwise_or.reduce(np.where(active[:, None], boards, 0), axis=0)
        free[:, leg] = passable & ~blocked.astype(passable.dtype)
        goals[:, leg] = np.where(some, boards[item, :, lanes].T, 0)
        target[leg] = items[item, lanes]
        left[item[some], lanes[some]] = False
        in_hand = in_hand + np.where(some, np.where(item < num_keys, 1, -1), 0)

    h = passable.shape[0]
    toward = np.zeros((4, h, legs * b), passable.dtype)
    for frontier, new in flood(free.reshape(h, -1), goals.reshape(h, -1)):
        toward[0, 1:] |= new[1:] & frontier[:-1]
        toward[1] |= new & (frontier << one)
        toward[2, :-1] |= new[:-1] & frontier[1:]
        toward[3] |= new & (frontier >> one)

    at = start.astype(np.int64).copy()
    leg = np.zeros(b, np.int64)
    length = (order >= 0).sum(1)
    going = np.flatnonzero(length)
    for step in range(horizon):
        if not len(going):
            break
        row, column = at[going].T
        board = toward[:, row, leg[going] * b + going]
        ways = board >> column.astype(passable.dtype) & one
        action = np.where(ways.any(0), ways.argmax(0), STAY)
        actions[going, step] = action
        at[going] += MOVES[action]
        leg[going] += (at[going] == target[leg[going], going]).all(1)
        going = going[leg[going] < length[going]]
    return actions
