from itertools import permutations

import numpy as np
import pytest

from malgen.agents.planner import level_batch
from malgen.errors import ConfigError
from malgen.planning.lookahead import NONE, look_ahead
from malgen.planning.problem import LevelBatch, Weights
from malgen.planning.tours import solve
from malgen.streams import stream
from malgen.worlds.keys_and_chests import KeysAndChestsLevels, sample_levels

GOALS = [
    Weights(chest=1.0),
    Weights(key=1.0),
    Weights(key=1.0, chest=1.0),
    Weights(key=0.5, chest=1.0, excess=-0.7),
]


def levels_with(layout, keys, chests, held, number):
    distribution = KeysAndChestsLevels(
        height=9, width=9, layout=layout, num_keys=keys, num_chests=chests
    )
    levels = level_batch(sample_levels(stream(5, layout, keys), distribution, number))
    return LevelBatch(
        walls=levels.walls,
        start=levels.start,
        keys=levels.keys,
        chests=levels.chests,
        held=np.full(number, held),
    )


@pytest.mark.parametrize("weights", GOALS)
def test_full_depth_is_the_exact_value(weights):
    for layout, held in (("braided", 0), ("tree", 1), ("blocks", 2)):
        levels = levels_with(layout, 4, 3, held, 40)
        found = look_ahead(levels, weights, (7, None), discount=0.97)
        exact = solve(levels, weights, horizon=4000, discount=0.97)
        np.testing.assert_allclose(found.value[1], exact.value, rtol=1e-12)
        np.testing.assert_allclose(found.value[0], exact.value, rtol=1e-12)
        moves = found.item[1] != NONE
        assert np.all(~found.chosen(1)[moves] | exact.first_actions[moves])
        assert found.chosen(1)[moves].any(1).all()


def walk(walls, held, keys, chests, at, order, weights, discount):
    """Value of taking items in an order; None if it cannot be done without others."""
    value, elapsed = 0.0, 0
    for taken, cell in enumerate(order, 1):
        active = keys | (chests if held else set())
        if cell not in active:
            return None
        steps = distance(walls, at, cell, active)
        if steps is None:
            return None
        elapsed += steps
        if cell in keys:
            keys = keys - {cell}
            over = held >= len(chests)
            held, reward = held + 1, weights.key + weights.excess * over
        else:
            chests, held, reward = chests - {cell}, held - 1, weights.chest
        value += discount ** (elapsed - 1) * reward
        at = cell
        if not chests or not (held or keys):
            return value if taken == len(order) else None
    return value


def distance(walls, start, goal, blocked):
    seen, front, steps = {start}, [start], 0
    while front:
        if goal in front:
            return steps
        following = []
        for r, c in front:
            for cell in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if walls[cell] or cell in seen:
                    continue
                if cell in blocked and cell != goal:
                    continue
                seen.add(cell)
                following.append(cell)
        front, steps = following, steps + 1
    return None


@pytest.mark.parametrize("weights", GOALS)
def test_small_depths_agree_with_every_order_tried(weights):
    for layout, held in (("braided", 0), ("tree", 1)):
        levels = levels_with(layout, 2, 2, held, 8)
        depths = (1, 2, 3)
        found = look_ahead(levels, weights, depths, discount=0.9)
        for n in range(len(levels)):
            keys = {tuple(cell) for cell in np.argwhere(levels.keys[n])}
            chests = {tuple(cell) for cell in np.argwhere(levels.chests[n])}
            for i, depth in enumerate(depths):
                best = {}
                for length in range(1, depth + 1):
                    for order in permutations(keys | chests, length):
                        value = walk(
                            levels.walls[n],
                            held,
                            keys,
                            chests,
                            tuple(levels.start[n]),
                            order,
                            weights,
                            0.9,
                        )
                        if value is not None:
                            cell = order[0][0] * 9 + order[0][1]
                            best[cell] = max(best.get(cell, -np.inf), value)
                for cell, worth in zip(found.cells[n], found.worth[i, n], strict=True):
                    assert worth == pytest.approx(best.get(int(cell), -np.inf))
                assert found.value[i, n] == pytest.approx(max(0, *best.values()))


def test_who_sees_no_reward_goes_to_the_nearest_item():
    grid = np.array([list("##########"), list("#k.A..kc.#"), list("##########")])[None]
    level = LevelBatch(
        walls=grid == "#",
        start=np.argwhere(grid[0] == "A"),
        keys=grid == "k",
        chests=grid == "c",
    )
    found = look_ahead(level, Weights(chest=1.0), (1, 2, None))
    assert found.cells[0].tolist() == [11, 16, 17]
    assert found.item[:, 0].tolist() == [0, 1, 1]
    assert np.flatnonzero(found.chosen(0)[0]).tolist() == [1]
    assert np.flatnonzero(found.chosen(1)[0]).tolist() == [3]
    # keys cost and chests are not wanted: nothing can ever pay, so it stays
    stays = look_ahead(level, Weights(key=-1.0), (1, None))
    assert (stays.item == NONE).all()
    assert not stays.chosen(0).any()


def test_crossing_walks_straight_through_items():
    grid = np.array(
        [list(row) for row in ("########", "#A.k..c#", "#.####.#", "#......#", "#" * 8)]
    )[None]
    level = LevelBatch(
        walls=grid == "#",
        start=np.argwhere(grid[0] == "A"),
        keys=grid == "k",
        chests=grid == "c",
        held=np.array([1]),
    )
    around = look_ahead(level, Weights(chest=1.0), (1,))
    straight = look_ahead(level, Weights(chest=1.0), (1,), crossing=True)
    assert around.distance[0].tolist() == [2, 9]
    assert straight.distance[0].tolist() == [2, 5]
    assert np.flatnonzero(around.chosen(0)[0]).tolist() == [2]
    assert np.flatnonzero(straight.chosen(0)[0]).tolist() == [3]


def test_bad_arguments_are_refused():
    levels = levels_with("braided", 2, 2, 0, 1)
    with pytest.raises(ConfigError, match="below 1"):
        look_ahead(levels, GOALS[0], (0,))
    with pytest.raises(ConfigError, match="discount"):
        look_ahead(levels, GOALS[0], (1,), discount=1.0)
