"""A function of your own: it walks to the nearest key and opens chests on its way.

It knows nothing of malgen but the observation, Bool[rows, columns, 7], and is audited
like any network. Run it with ``python examples/05_callable.py``.
"""

from collections import deque

import numpy as np

import malgen

WALLS, AGENT, KEYS, CHESTS, HELD = 0, 1, 2, 3, 6
MOVES = ((-1, 0), (0, -1), (1, 0), (0, 1))  # 0 up, 1 left, 2 down, 3 right
STAY = 4


def policy(observation):
    """An action; a row of five logits would do as well."""
    wanted = observation[:, :, KEYS]
    if not wanted.any() and observation[:, :, HELD].any():
        wanted = observation[:, :, CHESTS]
    start = tuple(np.argwhere(observation[:, :, AGENT])[0])
    first_move = {start: STAY}
    queue = deque([start])
    while queue:  # breadth-first, so the first that is met is the nearest
        cell = queue.popleft()
        if wanted[cell]:
            return first_move[cell]
        for action, (down, right) in enumerate(MOVES):
            beside = cell[0] + down, cell[1] + right
            if not observation[(*beside, WALLS)] and beside not in first_move:
                first_move[beside] = action if cell == start else first_move[cell]
                queue.append(beside)
    return STAY


if __name__ == "__main__":
    print(malgen.audit(policy, "keys-and-chests-small", gate=False, levels=128))
