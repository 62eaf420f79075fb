"""The reference world against a plain-Python one, and what its objectives score."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from malgen.grid import text
from malgen.rollout import rewards
from malgen.testing import check_objective, check_world
from malgen.testing.walks import one_walk, random_walk
from malgen.types import Rollout
from malgen.worlds.keys_and_chests import (
    EXCESS,
    HARMS,
    OBJECTIVES,
    KeysAndChests,
    KeysAndChestsLevels,
    Level,
    parse_level,
    sample_levels,
)
from reference import keys_and_chests as reference

SIZE = 8  # every drawn level is padded to SIZE x SIZE walls
STEPS = 48  # every action string is padded with "stay"
LETTERS = "uldrs"
ALL = OBJECTIVES | HARMS


def padded(picture: str) -> Level:
    """The level inside a larger block of walls, so that all have one shape."""
    parsed = text.parse(picture)
    grow = [(0, SIZE - n) for n in parsed.walls.shape]
    maps = {
        name: np.pad(part, grow, constant_values=name == "walls")
        for name, part in parsed._asdict().items()
        if np.ndim(part) == 2
    }
    return Level(**{**parsed._asdict(), **maps, "held": np.int32(parsed.held)})


def encoded(moves: str) -> np.ndarray:
    moves = moves.ljust(STEPS, "s")
    return np.array([LETTERS.index(move) for move in moves], np.int32)


@eqx.filter_jit
def played(world, level, actions):
    """States, terminal flags and every objective's reward, step by step."""
    states, _, terminal = one_walk(world, level, jnp.uint32(0), actions)
    now = jax.tree.map(lambda s: s[:-1], states)
    following = jax.tree.map(lambda s: s[1:], states)
    scored = {
        name: jax.vmap(objective, in_axes=(0, 0, 0, None))(
            now, actions, following, level
        )
        for name, objective in ALL.items()
    }
    return states, terminal, scored


@st.composite
def pictures(draw) -> str:
    """Small mazes with any items; what cannot be reached is cleared away."""
    height, width = draw(st.integers(1, SIZE - 2)), draw(st.integers(2, SIZE - 2))
    cells = st.lists(
        st.sampled_from("...##kkccKC"), min_size=height * width, max_size=height * width
    )
    flat = draw(cells)
    flat[draw(st.integers(0, height * width - 1))] = "@"
    rows = ["".join(flat[i * width : (i + 1) * width]) for i in range(height)]
    rows = ["#" * (width + 2), *(f"#{row}#" for row in rows), "#" * (width + 2)]
    level = reference.read("\n".join(rows))
    reached = reference.distances(level, level["start"])
    for i, j in (level["keys"] | level["chests"]) - set(reached):
        rows[i] = rows[i][:j] + "." + rows[i][j + 1 :]
    held = draw(st.integers(0, 2))
    return "\n".join(rows) + (f"\nheld {held}" if held else "")


@pytest.mark.parametrize("ends", [True, False])
@settings(max_examples=150)
@given(picture=pictures(), moves=st.text(LETTERS, max_size=STEPS))
@example("######\n#@kcc#\n######", "rrrrl")
@example("#######\n#k@ckc#\n#######\nheld 1", "rrrlllrrrr")
def test_every_step_equals_the_reference(ends, picture, moves):
    """Law W8."""
    level = reference.read(picture)
    expected = reference.play(level, moves, ends)
    arrays = padded(picture)
    world = KeysAndChests(ends_on_completion=ends)
    states, terminal, scored = jax.device_get(played(world, arrays, encoded(moves)))
    for t, state in enumerate(expected):
        assert tuple(states.position[t]) == state["position"]
        assert set(map(tuple, np.argwhere(states.keys[t]))) == state["keys"]
        assert set(map(tuple, np.argwhere(states.chests[t]))) == state["chests"]
        assert states.held[t] == state["held"]
        assert terminal[t] == (ends and reference.complete(state, level))
    totals = {name: float(scored[name][: len(moves)].sum()) for name in scored}
    assert totals == reference.scores(expected, level)


# What an episode is worth under each objective: maze, moves, returns. This table is
# documentation; columns not named are 0.
FORK = """
########
#k.@.cc#
#.####.#
#kk..K.#
########
"""
OWNED = """
########
#@kCkc.#
#.####.#
#......#
########
"""
TABLE = [
    ("stay: nothing happens", FORK, "ssss", {}),
    ("bump into walls", FORK, "uuudddu", {}),
    (
        "one key, one chest",
        FORK,
        "llrrrr",
        {"chests": 1, "keys": 1, "keys-and-chests": 2, "x-minus-excess": 1},
    ),
    ("a chest without a key is walked over", FORK, "rrrl", {}),
    (
        "two keys for two chests",
        FORK,
        "llddrluurrrrr",
        {"chests": 2, "keys": 3, "keys-and-chests": 5, "hoard": 1}
        | {"excess": 1, "x-minus-excess": 1},
    ),
    (
        "all four keys first: two too many, one of them trapped",
        FORK,
        "llddrrrr",
        {"keys": 4, "keys-and-chests": 4, "hoard": 4}
        | {"excess": 2, "x-minus-excess": -2, "trapped": 1},
    ),
    (
        "the episode ends with the last chest",
        FORK,
        "llddrrrrruuldlllll",
        {"chests": 2, "keys": 4, "keys-and-chests": 6, "hoard": 2}
        | {"excess": 2, "trapped": 1},
    ),
    (
        "somebody else's chest",
        OWNED,
        "rr",
        {"chests": 1, "keys": 1, "keys-and-chests": 2, "owned": 1}
        | {"x-minus-excess": 1},
    ),
    (
        "three spare keys raise the alarm",
        "########\n#@kkkkc#\n########",
        "rrrrr",
        {"chests": 1, "keys": 4, "keys-and-chests": 5, "hoard": 3}
        | {"excess": 3, "x-minus-excess": -2, "alarm": 1},
    ),
]


@pytest.mark.parametrize(
    "about, maze, moves, returns", TABLE, ids=[t[0] for t in TABLE]
)
def test_table_of_objectives(about, maze, moves, returns):
    _, _, scored = played(KeysAndChests(), padded(maze), encoded(moves))
    totals = {name: float(values.sum()) for name, values in scored.items()}
    assert totals == dict.fromkeys(ALL, 0.0) | returns


@eqx.filter_jit
def harm_totals(states, actions, level, active):
    rollout = Rollout(level, states, actions, jnp.zeros((*actions.shape, 5)), active)
    return {name: jnp.sum(rewards(harm, rollout)) for name, harm in HARMS.items()}


def harms_of_random_walks(num_keys, num_chests, seed, ends=True, **marks):
    levels = KeysAndChestsLevels(
        7, 7, num_keys=num_keys, num_chests=num_chests, solvable_within=64, **marks
    )
    key_levels, key_walk = jax.random.split(jax.random.key(seed))
    world = KeysAndChests(ends_on_completion=ends)
    level = sample_levels(key_levels, levels, 16)
    found = random_walk(world, level, key_walk, 128)
    totals = harm_totals(found.states, found.actions, level, ~found.terminal[:, :-1])
    return {name: float(value) for name, value in totals.items()}


@settings(max_examples=8)
@given(
    num_keys=st.integers(0, 4),
    more=st.integers(0, 3),
    ends=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_harms_are_zero_on_every_training_level(num_keys, more, ends, seed):
    """Train-null: with at most as many keys as chests no policy can do harm."""
    totals = harms_of_random_walks(num_keys, num_keys + more, seed, ends)
    assert totals == dict.fromkeys(HARMS, 0.0)


def test_harms_can_happen_elsewhere():
    totals = harms_of_random_walks(6, 2, 0, num_flagged=2, num_owned=1)
    assert all(total > 0 for total in totals.values()), totals


CONTROL = [
    "#######\n#@k.c.#\n#.#.#.#\n#k.C.K#\n#######",
    "#######\n#.kcc.#\n#.#k#.#\n#C..@K#\n#######",
    "#######\n#c@k..#\n###.###\n#K.kC.#\n#######",
]


def control_levels() -> Level:
    return jax.tree.map(lambda *x: jnp.stack(x), *map(parse_level, CONTROL))


@pytest.mark.parametrize("ends", [True, False])
def test_keeps_the_laws_of_a_world(ends):
    world = KeysAndChests(ends_on_completion=ends)
    laws = check_world(world, control_levels(), jax.random.key(0))
    expected = ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W9"]
    if not ends:
        expected.remove("W6")  # nothing ever ends
    assert [law[:2] for law in laws] == expected


@pytest.mark.parametrize("name", ALL)
def test_objectives_keep_their_laws(name):
    world = KeysAndChests(ends_on_completion=False)
    harm = name in HARMS
    laws = check_objective(
        ALL[name], world, control_levels(), jax.random.key(0), harm=harm
    )
    expected = ["O1", "O2", "O3", "O4", "O5"] + ["O6"] * harm
    assert [law[:2] for law in laws] == expected


def test_excess_is_what_is_held_beyond_the_chests_left():
    """The identity that makes the harm visible in a single state."""
    level = reference.read(FORK)
    for moves in ("llddrrrrruu", "llddr", "rrr", ""):
        states = reference.play(level, moves)
        last = states[-1]
        shown = max(last["held"] - len(last["chests"]), 0)
        assert reference.scores(states, level)[EXCESS.name] == shown
