"""Levels per second of the exact oracles, alone and against exhaustive search."""

import importlib.util
from dataclasses import asdict

import numpy as np

from benchmarks import harness
from benchmarks.harness import Local, Row
from benchmarks.workers.protocol import Case
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
    """Levels without JAX, so that an oracle can be timed by itself."""
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


X, U = Weights(chest=1), Weights(chest=1, excess=-1)
KEYS, HOARD = Weights(key=1), Weights(key=1, chest=-1)

GOALS = {
    "X, worst ties": (X, {"discount": 0.99, "ties": "worst", "q_values": False}),
    "X, worst ties, action values": (X, {"discount": 0.99, "ties": "worst"}),
    "X, best ties, action values": (X, {"discount": 0.99, "ties": "best"}),
    "X, worst ties, horizon 30 (binds)": (
        X,
        {"discount": 0.99, "ties": "worst", "horizon": 30},
    ),
    "U at price 1, items avoided": (U, {"q_values": False}),
    "keys": (KEYS, {"discount": 0.99}),
    "keys, horizon 40 (binds)": (KEYS, {"discount": 0.99, "horizon": 40}),
    "hoard": (HOARD, {"discount": 0.99}),
}
SIZES = {
    "13x13, 10 keys / 3 chests": (13, 10, 3, 128),
    "13x13, 3 keys / 10 chests": (13, 3, 10, 128),
    "9x9, 6 keys / 2 chests": (9, 6, 2, 64),
}
# Levels per second on two cores (design).
TARGETS = {"X, worst ties": 500, "U at price 1, items avoided": 50}

# Exhaustive search can do this in reasonable time; it tries every action in every
# state at every time.
SMALL = {"size": 7, "num_keys": 2, "num_chests": 2}
SMALL_HORIZON = 16


def measure(options) -> list[Row]:
    """Against exhaustive search, then the rates of each oracle."""
    rows = [against_search(options, goal) for goal in TARGETS]
    sizes = SIZES if options.large else dict(list(SIZES.items())[:1])
    for size_name, (size, num_keys, num_chests, horizon) in sizes.items():
        for goal in TARGETS if options.quick else GOALS:
            number = 64 if options.quick else 512 if goal in TARGETS else 128
            levels = make_levels(number, size, num_keys, num_chests)
            weights, settings = GOALS[goal]
            settings = {"horizon": horizon, **settings}

            def run(times, levels=levels, weights=weights, settings=settings):
                for _ in range(times):
                    solve(levels, weights, **settings)

            case = Case(run, number, "levels", {"inside": "plan, value, harm of ties"})
            local = Local(case)
            rounds = harness.contest(
                {"malgen": local.turn}, options.rounds, options.patience
            )
            rate = harness.rate(rounds, "malgen")
            target = TARGETS.get(goal) if size_name == next(iter(SIZES)) else None
            rows.append(
                Row(
                    question="oracles",
                    what=f"oracle {goal}; {size_name}",
                    malgen=f"{harness.short(rate)} levels/s",
                    ratio=harness.doubt(rounds, "malgen"),
                    timed=f"{number} levels at once: plan, value and harm",
                    target="" if target is None else f"{target} levels/s",
                    reached=None if target is None else rate >= target,
                    numbers={"rate": rate},
                )
            )
    return rows


def against_search(options, goal: str) -> Row:
    """Speed over the plain search that the tests check the oracles with."""
    what = f"oracle {goal}; 7x7, 2 keys / 2 chests, {SMALL_HORIZON} steps"
    search = _search()
    if search is None:
        return Row(
            question="oracles",
            what=what,
            other="exhaustive search",
            ratio="tests/reference is not here: run from a source checkout",
        )
    weights, settings = GOALS[goal]
    settings = {"horizon": SMALL_HORIZON, "discount": 1.0, "ties": "worst", **settings}
    levels = make_levels(64, **SMALL)
    plain = [_plain(levels, i) for i in range(len(levels))]

    def exact(times):
        for _ in range(times):
            solve(levels, weights, **settings)

    def exhaustive(times):
        for i in range(times):
            level = plain[i % len(plain)]
            search(
                level,
                asdict(weights),
                SMALL_HORIZON,
                settings["discount"],
                True,
                settings["ties"],
            )

    inside = {"inside": "value and harm of the best plan"}
    locals_ = {
        "malgen": Local(Case(exact, len(levels), "levels", inside)),
        "exhaustive search": Local(Case(exhaustive, 1, "levels", inside)),
    }
    turns = {name: one.turn for name, one in locals_.items()}
    rounds = harness.contest(turns, options.rounds, options.patience)
    return harness.compared("oracles", what, rounds, locals_, "exhaustive search")


def _search():
    path = harness.HERE.parent / "tests" / "reference" / "brute_force.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("brute_force", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.search


def _plain(levels: LevelBatch, i: int) -> dict:
    def cells(where):
        return {tuple(map(int, cell)) for cell in np.argwhere(where[i])}

    return {
        "walls": levels.walls[i].tolist(),
        "start": tuple(map(int, levels.start[i])),
        "keys": cells(levels.keys),
        "chests": cells(levels.chests),
        "flagged": cells(levels.flagged),
        "owned": cells(levels.owned),
        "held": int(levels.held[i]),
    }
