"""The five actions: the only place that knows which way is up."""

import numpy as np

ACTIONS = ("up", "left", "down", "right", "stay")
UP, LEFT, DOWN, RIGHT, STAY = range(5)
NUM_ACTIONS = len(ACTIONS)

# (row, column) change of each action.
DELTAS = np.array([[-1, 0], [0, -1], [1, 0], [0, 1], [0, 0]], dtype=np.int32)

# The action that has the same effect after the grid was turned a quarter turn
# counterclockwise (numpy.rot90) or mirrored left to right (numpy.fliplr).
TURNED = np.array([LEFT, DOWN, RIGHT, UP, STAY])
MIRRORED = np.array([UP, RIGHT, DOWN, LEFT, STAY])
