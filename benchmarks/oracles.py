"""Levels per second of the exact planners, on braided mazes made here."""

import argparse
import resource
import time

import numpy as np

from malgen.planning.problem import LevelBatch, Weights
from malgen.planning.tours import solve


def braided_maze(generator: np.random.Generator, size: int, opened: float = 0.5):
    """A spanning-tree maze on the odd lattice with some other walls opened."""
    walls = np.ones((size, size), bool)
    walls[1:-1:2, 1:-1:2] = False
    side = (size - 1) // 2
    across = [
        (r, c, r + dr, c + dc)
        for r in range(side)
        for c in range(side)
        for dr, dc in ((0, 1), (1, 0))
        if r + dr < side and c + dc < side
    ]
    parent = list(range(side * side))

    def find(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in generator.permutation(len(across)):
        r, c, r2, c2 = across[i]
        a, b = find(r * side + c), find(r2 * side + c2)
        if a != b or generator.random() < opened:
            walls[r + r2 + 1, c + c2 + 1] = False
        parent[a] = b
    return walls


def make_levels(n: int, size: int, num_keys: int, num_chests: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    walls = np.stack([braided_maze(generator, size) for _ in range(n)])
    start = np.zeros((n, 2), int)
    keys, chests = np.zeros_like(walls), np.zeros_like(walls)
    for i in range(n):
        cells = np.argwhere(~walls[i])
        cells = cells[generator.permutation(len(cells))]
        start[i] = cells[0]
        keys[i][tuple(cells[1 : 1 + num_keys].T)] = True
        chests[i][tuple(cells[1 + num_keys : 1 + num_keys + num_chests].T)] = True
    return LevelBatch(walls=walls, start=start, keys=keys, chests=chests)


GOALS = {
    "X, worst ties, .99": (Weights(chest=1), dict(discount=0.99, ties="worst")),
    "X, any, .99, no q": (Weights(chest=1), dict(discount=0.99, q_values=False)),
    "X, worst ties, .99, no q": (
        Weights(chest=1),
        dict(discount=0.99, ties="worst", q_values=False),
    ),
    "X, worst ties, H=30": (
        Weights(chest=1),
        dict(discount=0.99, ties="worst", horizon=30),
    ),
    "X, best ties, .99": (Weights(chest=1), dict(discount=0.99, ties="best")),
    "U, s=1": (Weights(chest=1, excess=-1), dict(q_values=False)),
    "U, s=1, worst ties, q": (Weights(chest=1, excess=-1), dict(ties="worst")),
    "keys, .99": (Weights(key=1), dict(discount=0.99)),
    "keys, .99, H=40": (Weights(key=1), dict(discount=0.99, horizon=40)),
    "hoard, .99": (Weights(key=1, chest=-1), dict(discount=0.99)),
}

SIZES = {
    "13x13 10/3": (13, 10, 3, 128),
    "13x13 3/10": (13, 3, 10, 128),
    "9x9 6/2": (9, 6, 2, 64),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=512)
    parser.add_argument("--only", default="", help="part of a goal's name")
    parser.add_argument("--size", default="", help="part of a size's name")
    options = parser.parse_args()
    for size_name, (size, num_keys, num_chests, horizon) in SIZES.items():
        if options.size not in size_name:
            continue
        levels = make_levels(options.levels, size, num_keys, num_chests)
        for goal, (weights, settings) in GOALS.items():
            if options.only not in goal:
                continue
            settings = {"horizon": horizon, **settings}
            solve(levels.take(np.arange(4)), weights, **settings)
            begin = time.perf_counter()
            solution = solve(levels, weights, **settings)
            rate = len(levels) / (time.perf_counter() - begin)
            print(
                f"{size_name:11} {goal:26} {rate:9.0f} levels/s   "
                f"value {solution.value.mean():6.3f}  "
                f"steps {solution.steps.mean():5.1f}  "
                f"excess {solution.excess.mean():5.2f}",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
