"""Hand-made levels whose answers can be read off, soft values, and error sentences."""

import numpy as np
import pytest

from malgen.errors import ConfigError, LevelError, NotMeasurable
from malgen.planning.dense import solve_dense
from malgen.planning.problem import LevelBatch, Weights
from malgen.planning.tours import solve

X = Weights(chest=1)
K = Weights(key=1)
U = Weights(chest=1, excess=-0.5)


def level_from(picture, held=0):
    """# wall, A agent, k key, f flagged key, c chest, o owned chest."""
    grid = np.array([list(row) for row in picture.split()])[None]
    return LevelBatch(
        walls=grid == "#",
        start=np.argwhere(grid[0] == "A"),
        keys=(grid == "k") | (grid == "f"),
        chests=(grid == "c") | (grid == "o"),
        flagged=grid == "f",
        owned=grid == "o",
        held=np.array([held]),
    )


CORRIDOR = """
#######
#A.k.c#
#######
"""

# The straight way from the first key to the chest crosses a key of no use.
DETOUR = """
#########
#Ak.k..c#
#.#...###
#.......#
#########
"""

# The useless key cannot be walked around.
BLOCKED = """
########
#A.kk.c#
########
"""


def test_a_corridor_by_hand():
    solution = solve(level_from(CORRIDOR), X, horizon=10, discount=0.5)
    assert solution.value[0] == 0.5**3
    assert solution.actions[0].tolist() == [3, 3, 3, 3] + [4] * 6
    assert solution.steps[0] == 4 and solution.keys[0] == 1 and solution.chests[0] == 1
    assert solution.order[0].tolist() == [10, 12]
    expected = [0.5**4, 0.5**4, 0.5**4, 0.5**3, 0.5**4]
    np.testing.assert_allclose(solution.q[0], expected)
    assert solution.first_actions[0].tolist() == [False] * 3 + [True, False]


@pytest.mark.parametrize("horizon, value", [(0, 0), (3, 0), (4, 1), (5, 1)])
def test_the_deadline_is_exact(horizon, value):
    level = level_from(CORRIDOR)
    for discount in (1.0, 0.9):
        solution = solve(level, X, horizon=horizon, discount=discount)
        assert solution.chests[0] == value
        assert solution.value[0] == pytest.approx(value * discount**3)
        assert solution.actions.shape == (1, horizon)


def test_the_utility_oracle_walks_around_a_useless_key():
    level = level_from(DETOUR)
    careless = solve(level, X, horizon=30, ties="worst", discount=0.99)
    assert careless.excess[0] == 1 and careless.steps[0] == 6
    for discount in (1.0, 0.99):
        careful = solve(level, U, horizon=30, discount=discount)
        assert careful.excess[0] == 0 and careful.chests[0] == 1
        assert careful.steps[0] == 8
    hurried = solve(level, U, horizon=7)
    assert hurried.excess[0] == 1 and hurried.value[0] == 0.5


def test_an_unavoidable_key_is_taken_only_if_worth_it():
    level = level_from(BLOCKED)
    assert solve(level, U, horizon=30).value[0] == 0.5
    refused = solve(level, Weights(chest=1, excess=-2), horizon=30)
    assert refused.value[0] == 0 and refused.steps[0] == 0
    assert (refused.actions == 4).all()


def test_a_key_lover_does_not_open_the_last_chest_too_early():
    level = level_from(CORRIDOR.replace("A.k.c", "kAckk").replace("######", "######"))
    # Behind the chest lie two more keys; with a key in hand the chest opens and ends.
    ended = solve(level, K, horizon=30)
    assert ended.keys[0] == 2 and ended.chests[0] == 0
    kept = solve(level, K, horizon=30, ends_on_completion=False)
    assert kept.keys[0] == 3 and kept.chests[0] >= 0


def test_flagged_keys_and_owned_chests_are_avoided():
    level = level_from("#######\n#fA.k.#\n#..o.c#\n#######")
    trap = solve(level, Weights(chest=1, flagged=-2), horizon=20, discount=0.9)
    assert trap.keys[0] == 1 and trap.value[0] == pytest.approx(0.9**3)
    assert trap.order[0, 0] == 1 * 7 + 4
    owned = solve(level, Weights(chest=1, owned=-2), horizon=20, discount=0.9)
    assert owned.order[0].tolist()[-3:].count(2 * 7 + 3) == 0
    assert owned.chests[0] == 1


def test_ties_stop_at_the_last_openable_chest():
    level = level_from("#########\n#k.A.k.c#\n#########")
    for ends in (True, False):
        for discount in (1.0, 0.99):
            worst = solve(
                level,
                X,
                horizon=40,
                discount=discount,
                ties="worst",
                ends_on_completion=ends,
            )
            # Without discount, sweeping all keys first costs nothing.
            assert worst.excess[0] == (1 if discount == 1 else 0)
            assert worst.order[0, worst.keys[0]] == 1 * 9 + 7
            best = solve(level, X, horizon=40, discount=discount, ties="best")
            assert best.excess[0] == 0 and best.steps[0] == 4


@pytest.mark.parametrize(
    "picture, held",
    [
        ("#####\n#A..#\n#####", 0),
        ("#####\n#Ac.#\n#####", 0),
        ("#####\n#Ak.#\n#####", 0),
        ("######\n#A#kc#\n######", 0),
        ("######\n#Ak#c#\n######", 0),
        ("#####\n#A.k#\n#####", 3),
    ],
)
def test_nothing_to_open_is_worth_nothing(picture, held):
    level = level_from(picture, held)
    for discount in (1.0, 0.99):
        for ties in ("any", "worst", "best"):
            for ends in (True, False):
                solution = solve(
                    level,
                    X,
                    horizon=9,
                    discount=discount,
                    ties=ties,
                    ends_on_completion=ends,
                )
                assert solution.value[0] == 0 and solution.steps[0] == 0
                assert (solution.q == 0).all() and solution.first_actions.all()
                assert (solution.actions == 4).all()


def test_keys_in_hand_at_the_start_open_chests():
    level = level_from("######\n#cA.c#\n######", held=1)
    solution = solve(level, X, horizon=9, discount=0.9)
    assert solution.value[0] == 1 and solution.chests[0] == 1
    both = solve(level_from("######\n#cA.c#\n######", held=5), X, horizon=9)
    assert both.value[0] == 2 and both.excess[0] == 0


def test_keys_taken_with_enough_in_hand_are_excess():
    level = level_from("######\n#kA.c#\n######", held=5)
    solution = solve(level, Weights(key=1), horizon=9)
    assert solution.keys[0] == 1 and solution.excess[0] == 1


def test_soft_values_lie_between_random_and_optimal():
    level = level_from(DETOUR)
    settings = dict(horizon=12, discount=0.95)
    optimal = solve_dense(level, X, **settings).value[0]
    soft = [
        solve_dense(level, X, inverse_temperature=beta, **settings).value[0]
        for beta in (1e-6, 0.1, 1.0, 10.0, 100.0, 1e6)
    ]
    assert np.all(np.diff(soft) > 0) and soft[-1] <= optimal
    assert soft[-1] == pytest.approx(optimal, abs=1e-4)
    # One step: log of the mean of five exponentials, by hand.
    one = level_from("####\n#Ac#\n####", held=1)
    value = solve_dense(one, X, horizon=1, inverse_temperature=2.0).value[0]
    assert value == pytest.approx(np.log((4 + np.exp(2)) / 5) / 2)


def test_empty_batches_are_fine():
    level = level_from(CORRIDOR).take(np.array([], int))
    solution = solve(level, X, horizon=5)
    assert solution.value.shape == (0,) and solution.actions.shape == (0, 5)
    assert solve_dense(level, X, horizon=5).value.shape == (0,)


def crowded(num_keys, num_chests):
    size = 12
    walls = np.ones((1, size, size), bool)
    walls[:, 1:-1, 1:-1] = False
    cells = np.argwhere(~walls[0])
    maps = np.zeros((2, 1, size, size), bool)
    maps[0, 0][tuple(cells[1 : 1 + num_keys].T)] = True
    maps[1, 0][tuple(cells[1 + num_keys : 1 + num_keys + num_chests].T)] = True
    return LevelBatch(walls=walls, start=cells[:1], keys=maps[0], chests=maps[1])


def test_too_many_items_are_refused_in_one_sentence():
    with pytest.raises(NotMeasurable, match=r"12 keys and 6 chests.*at most 16 items"):
        solve(crowded(12, 6), U, horizon=50)
    with pytest.raises(NotMeasurable, match=r"1 keys and 30 chests.*at most 20"):
        solve(crowded(1, 30), X, horizon=50, discount=0.99)
    with pytest.raises(NotMeasurable, match=r"has 409600 states.*at most 65536"):
        solve_dense(crowded(9, 3), X, horizon=5)
    many = solve(crowded(18, 2), X, horizon=60, discount=0.99, ties="any")
    assert many.chests[0] == 2


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(ties="nice"), "ties='nice' is unknown; choose one of any, worst, best"),
        (dict(discount=0.0), r"discount=0.0 is not in \(0, 1\]"),
        (dict(discount=1.5), r"discount=1.5 is not in \(0, 1\]"),
        (dict(horizon=-1), "horizon=-1 is outside 0 to 16000 steps"),
    ],
)
def test_settings_out_of_range_are_refused(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        solve(level_from(CORRIDOR), X, **{"horizon": 5, **change})


@pytest.mark.parametrize(
    "picture, held, sentence",
    [
        ("####\n#A.#\n#.##", 0, "open border"),
        ("####\n#Ak#\n####", -1, "holds a negative number of keys"),
    ],
)
def test_levels_that_cannot_occur_are_refused(picture, held, sentence):
    with pytest.raises(LevelError, match=f"Level 0 .*{sentence}"):
        level_from(picture, held)


def test_item_maps_that_contradict_each_other_are_refused():
    walls = np.ones((1, 4, 5), bool)
    walls[0, 1:3, 1:4] = False
    here = np.zeros_like(walls)
    here[0, 1, 1] = True
    none = np.zeros_like(walls)
    start = np.array([[2, 3]])
    given = dict(walls=walls, start=start, keys=none, chests=none)
    for change, sentence in [
        (dict(keys=here, chests=here), "a key and a chest in one cell"),
        (dict(flagged=here), "flags a cell without a key"),
        (dict(owned=here), "owned a cell without a chest"),
        (dict(keys=walls), "an item in a wall"),
        (dict(keys=here, start=np.array([[1, 1]])), "starts on a key"),
        (
            dict(chests=here, start=np.array([[1, 1]]), held=np.array([1])),
            "starts on a chest with a key in hand",
        ),
        (dict(start=np.array([[0, 0]])), "on a wall"),
        (dict(keys=none[0]), "keys of shape"),
        (dict(start=start[0]), "start of shape"),
    ]:
        with pytest.raises(LevelError, match=sentence):
            LevelBatch(**{**given, **change})
    with pytest.raises(ConfigError, match="chest=nan"):
        Weights(chest=float("nan"))
