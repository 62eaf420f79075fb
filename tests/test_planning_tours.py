"""The tour engine against the dense engine, exhaustive search and the real rules."""

import numpy as np
import pytest

from malgen.errors import ConfigError
from malgen.planning.dense import solve_dense
from malgen.planning.problem import MOVES, LevelBatch, Weights
from malgen.planning.tours import solve
from reference import brute_force

GOALS = {
    "X": Weights(chest=1),
    "K": Weights(key=1),
    "K+C": Weights(key=1, chest=1),
    "U": Weights(chest=1, excess=-0.5),
    "hoard": Weights(key=1, chest=-1),
    "X-excess": Weights(chest=1, excess=-1),
    "trap": Weights(chest=1, flagged=-0.7),
    "owned": Weights(key=0.25, chest=1, owned=-3),
}
KINDS = [(3, 2), (2, 3), (4, 2), (2, 4), (1, 3), (4, 1), (3, 3), (5, 2), (3, 4), (2, 2)]
LEVELS_PER_KIND = 60


def blocks(generator, size):
    """Independent walls; items may be cut off."""
    walls = np.ones((size, size), bool)
    walls[1:-1, 1:-1] = generator.random((size - 2, size - 2)) < generator.choice(
        [0.0, 0.2, 0.4]
    )
    return walls


def maze(generator, size):
    """A spanning tree on the odd lattice, some further walls opened."""
    walls = np.ones((size, size), bool)
    seen = {(1, 1)}
    stack = [(1, 1)]
    walls[1, 1] = False
    while stack:
        r, c = stack[-1]
        steps = [
            (r + 2 * dr, c + 2 * dc)
            for dr, dc in MOVES[:4]
            if 0 < r + 2 * dr < size - 1 and 0 < c + 2 * dc < size - 1
        ]
        steps = [cell for cell in steps if cell not in seen]
        if not steps:
            stack.pop()
            continue
        to = steps[generator.integers(len(steps))]
        walls[(r + to[0]) // 2, (c + to[1]) // 2] = walls[to] = False
        seen.add(to)
        stack.append(to)
    opened = generator.random((size, size)) < 0.15
    opened[[0, -1]] = opened[:, [0, -1]] = False
    return walls & ~opened


def random_levels(seed, n, num_keys, num_chests, most_held=0, size=7):
    generator = np.random.default_rng(seed)
    walls, start, held = [], [], generator.integers(0, most_held + 1, n)
    maps = np.zeros((4, n, size, size), bool)
    while len(walls) < n:
        make = maze if generator.random() < 0.5 else blocks
        candidate = make(generator, size)
        cells = generator.permutation(np.argwhere(~candidate))
        if len(cells) <= num_keys + num_chests:
            continue
        i = len(walls)
        walls.append(candidate)
        start.append(cells[0])
        maps[0, i][tuple(cells[1 : 1 + num_keys].T)] = True
        chests = cells[1 + num_keys : 1 + num_keys + num_chests]
        maps[1, i][tuple(chests.T)] = True
        maps[2:, i] = maps[:2, i] & (generator.random((2, size, size)) < 0.4)
    return LevelBatch(
        walls=np.array(walls),
        start=np.array(start),
        keys=maps[0],
        chests=maps[1],
        flagged=maps[2],
        owned=maps[3],
        held=held,
    )


def simulate(levels, weights, actions, discount, ends_on_completion, horizon):
    """Play action sequences by the rules: returns, excess, steps of last event."""
    n = len(levels)
    lanes = np.arange(n)
    at, held = levels.start.copy(), levels.held.copy()
    keys, chests = levels.keys.copy(), levels.chests.copy()
    total, excess, last = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
    for time in range(actions.shape[1]):
        over = (chests.sum((1, 2)) == 0) | (held + keys.sum((1, 2)) == 0)
        live = (time < horizon) & ~(over & ends_on_completion)
        to = at + MOVES[actions[:, time]]
        stuck = levels.walls[lanes, to[:, 0], to[:, 1]] | ~live
        at = np.where(stuck[:, None], at, to)
        cell = (lanes, *at.T)
        takes = keys[cell] & live
        opens = chests[cell] & (held > 0) & live
        wasted = takes & (held >= chests.sum((1, 2)))
        reward = weights.key * takes + weights.excess * wasted + weights.chest * opens
        reward = reward + weights.flagged * (takes & levels.flagged[cell])
        reward = reward + weights.owned * (opens & levels.owned[cell])
        keys[cell] &= ~takes
        chests[cell] &= ~opens
        held = held + takes - opens
        excess += wasted
        total += discount**time * reward
        last = np.where(takes | opens, time + 1, last)
    counts = (
        (levels.keys.sum((1, 2)) - keys.sum((1, 2))),
        (levels.chests.sum((1, 2)) - chests.sum((1, 2))),
    )
    return total, excess, last, *counts


def law_violations(levels, weights, solution, value, horizon, **settings):
    """Levels whose stated value is not the return of playing the plan."""
    total, *_ = simulate(levels, weights, solution.actions, horizon=horizon, **settings)
    return np.abs(total - value) > 1e-9


def check(levels, weights, horizon, **settings):
    """Compare both engines and the simulation in every mode of ties."""
    dense = solve_dense(levels, weights, horizon=horizon, **settings)
    for ties in ("worst", "best", "any"):
        tours = solve(
            levels, weights, horizon=horizon, ties=ties, workers=1, **settings
        )
        np.testing.assert_allclose(tours.value, dense.value, atol=1e-9)
        np.testing.assert_allclose(tours.q, dense.q, atol=1e-9)
        np.testing.assert_allclose(tours.q.max(1), tours.value, atol=1e-9)
        assert (tours.first_actions == dense.first_actions).all()
        if ties == "worst":
            assert (tours.excess == dense.most_excess).all()
        elif ties == "best":
            assert (tours.excess == dense.least_excess).all()
        played = simulate(levels, weights, tours.actions, horizon=horizon, **settings)
        regret = dense.value - played[0]
        assert np.abs(regret).max() <= 1e-9
        assert (played[1] == tours.excess).all() and (tours.second == played[1]).all()
        assert (played[2] == tours.steps).all()
        assert (played[3] == tours.keys).all() and (played[4] == tours.chests).all()
        moving = horizon > 0
        first = tours.actions[np.flatnonzero(moving), 0]
        assert tours.first_actions[moving][np.arange(moving.sum()), first].all()
        assert ((tours.order >= 0).sum(1) == tours.keys + tours.chests).all()
    return dense


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_tours_equal_dense_values_and_the_played_return(kind):
    levels = random_levels(kind, LEVELS_PER_KIND, *KINDS[kind], most_held=kind % 3)
    generator = np.random.default_rng(1000 + kind)
    for number, weights in enumerate(GOALS.values()):
        # Half of the horizons bind: they are shorter than a full tour.
        short = generator.integers(0, 14, len(levels))
        # The long ones exceed every tour, and every number that could wrap around.
        long = generator.choice([34, 64, 300], len(levels), p=[0.8, 0.15, 0.05])
        horizon = np.where(generator.random(len(levels)) < 0.5, short, long)
        discounts = (1.0, 0.99) if (kind + number) % 2 else (0.99, 1.0)
        for ends, discount in zip((True, False), discounts, strict=True):
            some = slice(None) if number < 6 else slice(0, 30)
            check(
                levels.take(np.arange(len(levels))[some]),
                weights,
                horizon[some],
                discount=discount,
                ends_on_completion=ends,
            )


def as_plain(levels, i):
    """A level for the plain-Python reference."""

    def cells(maps):
        return [tuple(map(int, cell)) for cell in np.argwhere(maps[i])]

    return {
        "walls": levels.walls[i].tolist(),
        "start": tuple(map(int, levels.start[i])),
        "keys": cells(levels.keys),
        "chests": cells(levels.chests),
        "flagged": cells(levels.flagged),
        "owned": cells(levels.owned),
        "held": int(levels.held[i]),
    }


@pytest.mark.parametrize("goal", GOALS)
def test_tours_equal_exhaustive_search(goal):
    weights = GOALS[goal]
    generator = np.random.default_rng(7)
    for number, kind in enumerate([(2, 1), (1, 2), (2, 2), (3, 1), (3, 0), (0, 2)]):
        levels = random_levels(50 + number, 2, *kind, most_held=1)
        horizon = int(generator.integers(4, 16))
        for ties, discount, ends in (("worst", 0.95, True), ("best", 1.0, False)):
            settings = dict(discount=discount, ends_on_completion=ends)
            tours = solve(levels, weights, horizon=horizon, ties=ties, **settings)
            for i in range(len(levels)):
                level = as_plain(levels, i)
                value, excess, q = brute_force.search(
                    level, vars(weights), horizon, discount, ends, ties
                )
                assert abs(value - tours.value[i]) < 1e-9
                assert excess == tours.excess[i]
                np.testing.assert_allclose(q, tours.q[i], atol=1e-9)
                total, taken, _ = brute_force.play(
                    level, vars(weights), tours.actions[i], discount, ends
                )
                assert abs(total - value) < 1e-9 and taken == excess


def test_grids_wider_than_a_machine_word_of_16_bits():
    levels = random_levels(20, 6, 2, 2, size=19)
    for horizon in (20, 280):
        limit = np.full(len(levels), horizon)
        for discount in (1.0, 0.99):
            for weights in (GOALS["X"], GOALS["U"], GOALS["hoard"]):
                settings = dict(discount=discount, ends_on_completion=True)
                check(levels, weights, limit, **settings)


def test_an_off_by_one_discount_breaks_the_law():
    levels = random_levels(3, 40, 3, 2)
    weights, settings = GOALS["X"], dict(discount=0.99, ends_on_completion=True)
    solution = solve(levels, weights, horizon=30, ties="worst", **settings)
    earns = solution.value > 0
    assert earns.sum() > 20

    def broken(value):
        return law_violations(
            levels, weights, solution, value, np.full(len(levels), 30), **settings
        )

    assert not broken(solution.value).any()
    assert (broken(0.99 * solution.value) == earns).all()


def test_plans_are_not_beaten_by_random_or_perturbed_ones():
    levels = random_levels(11, 60, 3, 2)
    generator = np.random.default_rng(0)
    settings = dict(discount=0.97, ends_on_completion=True)
    horizon = np.full(len(levels), 25)
    for weights in GOALS.values():
        solution = solve(levels, weights, horizon=25, **settings)
        for _ in range(10):
            changed = generator.random(solution.actions.shape) < 0.1
            other = generator.integers(0, 5, solution.actions.shape)
            actions = np.where(changed, other, solution.actions)
            total, *_ = simulate(levels, weights, actions, horizon=horizon, **settings)
            assert (total <= solution.value + 1e-9).all()


def test_turned_and_mirrored_levels_have_the_same_values():
    levels = random_levels(5, 40, 3, 2, most_held=1)
    mirrored = LevelBatch(
        walls=levels.walls[:, :, ::-1],
        start=np.stack([levels.start[:, 0], 6 - levels.start[:, 1]], 1),
        keys=levels.keys[:, :, ::-1],
        chests=levels.chests[:, :, ::-1],
        held=levels.held,
    )
    for weights in (GOALS["X"], GOALS["U"], GOALS["hoard"]):
        for discount in (1.0, 0.99):
            here = solve(levels, weights, horizon=30, discount=discount)
            there = solve(mirrored, weights, horizon=30, discount=discount)
            np.testing.assert_allclose(here.value, there.value, atol=1e-12)
            swapped = there.q[:, [0, 3, 2, 1, 4]]
            np.testing.assert_allclose(here.q, swapped, atol=1e-12)


def test_one_batch_equals_its_levels_one_by_one_whatever_the_threads():
    parts = [random_levels(i, 7, *kind) for i, kind in enumerate([(3, 2), (1, 3)])]
    mixed = LevelBatch(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("walls", "start", "keys", "chests", "flagged", "owned", "held")
        }
    )
    settings = dict(horizon=30, discount=0.99, ties="worst")
    together = solve(mixed, GOALS["U"], workers=3, **settings)
    for i in range(len(mixed)):
        alone = solve(mixed.take(np.array([i])), GOALS["U"], **settings)
        assert together.value[i] == alone.value[0]
        assert (together.actions[i] == alone.actions[0]).all()
    bare = solve(mixed, GOALS["U"], q_values=False, **settings)
    assert bare.q is None and bare.first_actions is None
    assert (bare.value == together.value).all()


def test_a_full_size_level_keeps_the_law_in_every_mode():
    generator = np.random.default_rng(2)
    n, size = 6, 13
    walls = np.stack([maze(generator, size) for _ in range(n)])
    maps, start = np.zeros((2, n, size, size), bool), np.zeros((n, 2), int)
    for i in range(n):
        cells = generator.permutation(np.argwhere(~walls[i]))
        start[i] = cells[0]
        maps[0, i][tuple(cells[1:11].T)] = True
        maps[1, i][tuple(cells[11:14].T)] = True
    levels = LevelBatch(walls=walls, start=start, keys=maps[0], chests=maps[1])
    for weights in (GOALS["X"], GOALS["U"], GOALS["K"]):
        for discount in (1.0, 0.99):
            for limit in (25, 300):
                horizon = np.full(n, limit)
                settings = dict(discount=discount, ends_on_completion=True)
                excess = {}
                for ties in ("worst", "best"):
                    tours = solve(levels, weights, horizon=limit, ties=ties, **settings)
                    played = simulate(
                        levels, weights, tours.actions, horizon=horizon, **settings
                    )
                    assert np.abs(played[0] - tours.value).max() < 1e-9
                    assert (played[1] == tours.excess).all()
                    assert np.abs(tours.q.max(1) - tours.value).max() < 1e-9
                    excess[ties] = tours.excess
                assert (excess["best"] <= excess["worst"]).all()


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_ties_by_excess_and_flagged_keys_equal_exhaustive_search(ties):
    by = Weights(excess=1.0, flagged=1.0)
    marked = []
    for number, kind in enumerate([(2, 1), (3, 1), (3, 2)]):
        levels = random_levels(80 + number, 6, *kind)
        settings = dict(discount=0.95, ends_on_completion=True)
        tours = solve(
            levels, Weights(chest=1), horizon=14, ties=ties, tie_weights=by, **settings
        )
        for i in range(len(levels)):
            level = as_plain(levels, i)
            value, harm, _ = brute_force.search(
                level, {"chest": 1}, 14, 0.95, True, ties, vars(by)
            )
            assert abs(value - tours.value[i]) < 1e-9
            paid, _, _ = brute_force.play(level, vars(by), tours.actions[i], 1.0, True)
            assert paid == harm
            marked.append(harm)
    assert any(marked)  # a test in which no harm is possible would prove nothing


def test_other_ties_need_a_discount():
    levels = random_levels(1, 1, 2, 1)
    with pytest.raises(ConfigError, match="need a discount below 1"):
        solve(
            levels,
            Weights(chest=1),
            horizon=9,
            ties="worst",
            tie_weights=Weights(flagged=1.0),
        )
