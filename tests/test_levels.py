"""Drawn levels: right counts, solvable by an independent walker, and reproducible."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgen.errors import LevelError
from malgen.grid import mazes, paths, text
from malgen.worlds.keys_and_chests import (
    KeysAndChestsLevels,
    draw_level,
    greedy_tour,
    parse_level,
    sample_levels,
)
from reference import keys_and_chests as reference

# layout, height, width, (keys, chests) per case: odd, even and oblong sizes.
CASES = [
    ("braided", 13, 13, [(3, 10), (10, 3), (0, 4), (4, 0), (0, 0)]),
    ("braided", 9, 9, [(2, 4), (6, 2), (1, 1)]),
    ("tree", 8, 11, [(3, 3), (5, 2)]),
    ("blocks", 9, 7, [(2, 4), (6, 2)]),
    ("open", 6, 9, [(10, 3), (3, 10), (13, 14)]),
    ("open", 3, 4, [(1, 0), (0, 1), (0, 0)]),
]
HORIZON = 128
NUMBER = 12  # levels per draw, always the same: drawing compiles once per size

plan_of = jax.jit(greedy_tour)


def shaped(layout):
    """A size of a layout that is drawn anyway."""
    return next(
        (height, width) for name, height, width, _ in CASES[1:] if name == layout
    )


def pictures_of(levels, number=NUMBER, seed=0):
    stacked = jax.device_get(sample_levels(jax.random.key(seed), levels, number))
    return [
        draw_level(jax.tree.map(lambda leaf, i=i: leaf[i], stacked))
        for i in range(number)
    ]


@pytest.mark.parametrize(
    "layout, height, width, counts", CASES, ids=[f"{c[0]}-{c[1]}x{c[2]}" for c in CASES]
)
def test_levels_are_what_was_asked_for(layout, height, width, counts):
    for num_keys, num_chests in counts:
        levels = KeysAndChestsLevels(
            height,
            width,
            layout,
            num_keys=num_keys,
            num_chests=num_chests,
            num_flagged=num_keys // 2,
            num_owned=num_chests // 2,
        )
        for picture in pictures_of(levels):
            level = reference.read(picture)
            assert (level["rows"], level["columns"]) == (height, width)
            # The characters of a picture show one thing per cell, so equal counts
            # also mean distinct cells.
            assert len(level["keys"]) == num_keys
            assert len(level["chests"]) == num_chests
            assert len(level["flagged"]) == num_keys // 2
            assert len(level["owned"]) == num_chests // 2
            assert level["held"] == 0
            steps = reference.distances(level, level["start"])
            assert level["keys"] | level["chests"] <= set(steps)
            walked, opened = reference.greedy_tour(level)
            assert opened == min(num_keys, num_chests)
            assert walked <= HORIZON
            plan = plan_of(parse_level(picture))
            assert (int(plan.steps), int(plan.opened)) == (walked, opened)
            border = {(i, j) for i in (0, height - 1) for j in range(width)}
            border |= {(i, j) for i in range(height) for j in (0, width - 1)}
            assert border <= level["walls"]
            if layout == "tree":
                floor = set(steps)
                edges = sum(
                    neighbor in floor
                    for i, j in floor
                    for neighbor in ((i + 1, j), (i, j + 1))
                )
                assert edges == len(floor) - 1
            if layout == "open":
                assert level["walls"] == border


def test_a_tight_limit_selects_levels():
    """The limit is a real one: it changes which levels come out."""
    levels = KeysAndChestsLevels(9, 9, num_keys=2, num_chests=4, solvable_within=20)
    for picture in pictures_of(levels):
        assert reference.greedy_tour(reference.read(picture))[0] <= 20


def test_unsolvable_levels_are_refused():
    levels = KeysAndChestsLevels(9, 9, num_keys=6, num_chests=6, solvable_within=3)
    with pytest.raises(LevelError) as caught:
        sample_levels(jax.random.key(0), levels, 12)
    assert str(caught.value) == (
        "12 of 12 levels cannot be completed within 3 steps, whatever layout was "
        "tried; allow more steps, fewer items or a smaller or more open level."
    )


def test_braided_mazes_open_half_of_the_remaining_walls():
    keys = jax.random.split(jax.random.key(0), 400)
    rooms, edges = 6 * 6, 2 * 6 * 5
    draw = jax.jit(lambda share: jax.vmap(lambda k: mazes.maze(k, 13, 13, share))(keys))
    for openness in (0.0, 0.5, 1.0):
        walls = draw(openness)
        passages = np.sum(~np.asarray(walls), axis=(1, 2)) - rooms
        opened = (passages - (rooms - 1)) / (edges - (rooms - 1))
        # 400 mazes x 25 walls: the standard error of the share is 0.005.
        assert abs(opened.mean() - openness) < 0.025


def test_spanning_trees_are_drawn_fairly():
    """On a 2 x 2 lattice each of the four trees is as likely as the others."""
    keys = jax.random.split(jax.random.key(1), 4000)
    walls = np.asarray(jax.jit(jax.vmap(lambda key: mazes.maze(key, 5, 5, 0.0)))(keys))
    closed = np.stack([walls[:, i, j] for i, j in ((1, 2), (2, 1), (2, 3), (3, 2))])
    assert (closed.sum(axis=0) == 1).all()
    share = closed.mean(axis=1)
    assert (abs(share - 0.25) < 0.035).all()  # five standard errors


def test_items_lie_anywhere():
    levels = KeysAndChestsLevels(6, 9, "open", num_keys=3, num_chests=2)
    drawn = jax.device_get(sample_levels(jax.random.key(2), levels, 2000))
    starts = np.zeros((6, 9))
    np.add.at(starts, tuple(drawn.start.T), 1)
    for counts, number in (
        (drawn.keys.sum(0), 3),
        (drawn.chests.sum(0), 2),
        (starts, 1),
    ):
        expected = 2000 * number / 28
        inner = counts[1:-1, 1:-1]
        chi_square = ((inner - expected) ** 2 / expected).sum()
        assert chi_square < 67  # 27 degrees of freedom: exceeded once in 30,000


def test_flags_lie_on_any_key():
    levels = KeysAndChestsLevels(
        6, 9, "open", num_keys=4, num_chests=4, num_flagged=1, num_owned=1
    )
    drawn = jax.device_get(sample_levels(jax.random.key(3), levels, 2000))
    for marked, items in ((drawn.flagged, drawn.keys), (drawn.owned, drawn.chests)):
        assert (marked.sum((1, 2)) == 1).all() and not (marked & ~items).any()
        # Which of the four (in reading order) is marked.
        rank = [
            int(np.flatnonzero(one[all_].ravel())[0])
            for one, all_ in zip(marked, items, strict=True)
        ]
        assert (abs(np.bincount(rank, minlength=4) - 500) < 100).all()


# First digits of the SHA-256 of twelve pictures.
GOLDEN = {
    "braided": "4dddb4edfc136663",
    "tree": "1523b88870f902cb",
    "blocks": "62ecbc73b567f4dd",
    "open": "d16fd1f18de1aef5",
}


@pytest.mark.parametrize("layout", mazes.LAYOUTS)
def test_levels_are_the_same_everywhere(layout):
    """A change of these is a change of the world's version."""
    levels = KeysAndChestsLevels(*shaped(layout), layout, num_keys=2, num_chests=3)
    joined = "\n\n".join(pictures_of(levels, seed=11))
    assert joined == "\n\n".join(pictures_of(levels, seed=11))
    assert hashlib.sha256(joined.encode()).hexdigest()[:16] == GOLDEN[layout]


def test_a_level_does_not_depend_on_how_many_are_drawn():
    levels = KeysAndChestsLevels(6, 9, "open", num_keys=2, num_chests=3)
    assert pictures_of(levels, seed=11)[:2] == pictures_of(levels, 2, seed=11)


# --- what cannot exist ----------------------------------------------------------------

BAD = [
    (
        {"height": 2},
        "A level of 2 x 13 cells has no room inside its border; give at "
        "least 3 rows and 3 columns.",
    ),
    (
        {"width": -5},
        "A level of 13 x -5 cells has no room inside its border; give at "
        "least 3 rows and 3 columns.",
    ),
    (
        {"layout": "spiral"},
        "Unknown layout 'spiral'; use one of braided, tree, blocks, open.",
    ),
    ({"num_keys": -1}, "-1 keys were asked for; give a whole number, 0 or more."),
    ({"num_chests": 2.5}, "2.5 chests were asked for; give a whole number, 0 or more."),
    (
        {"num_flagged": 4},
        "4 flagged keys of 3 keys were asked for; flag at most as many as there are.",
    ),
    (
        {"num_owned": 11},
        "11 owned chests of 10 chests were asked for; own at most as "
        "many as there are.",
    ),
    (
        {"height": 5, "width": 5},
        "3 keys, 10 chests and the agent need 14 floor cells, "
        "but a 5 x 5 braided level surely has only 7; make it larger.",
    ),
    ({"openness": 1.5}, "openness is 1.5; give a share from 0 to 1."),
    ({"density": 0.9}, "density is 0.9; give a share from 0 to 0.4."),
]


@pytest.mark.parametrize("arguments, sentence", BAD, ids=[str(b[0]) for b in BAD])
def test_impossible_levels_are_refused(arguments, sentence):
    with pytest.raises(LevelError) as caught:
        KeysAndChestsLevels(**arguments)
    assert str(caught.value) == sentence


@given(
    height=st.integers(-3, 9),
    width=st.integers(-3, 9),
    layout=st.sampled_from(mazes.LAYOUTS),
    num_keys=st.integers(-2, 40),
    num_chests=st.integers(-2, 40),
)
def test_a_distribution_is_made_or_refused_with_a_sentence(
    height, width, layout, num_keys, num_chests
):
    try:
        levels = KeysAndChestsLevels(
            height, width, layout, num_keys=num_keys, num_chests=num_chests
        )
    except LevelError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        assert num_keys >= 0 and num_chests >= 0
        assert num_keys + num_chests + 1 <= levels.room()


@pytest.mark.parametrize("layout", ["braided", "tree", "open"])
def test_every_level_has_the_room_that_is_promised(layout):
    height, width = shaped(layout)
    room = KeysAndChestsLevels(height, width, layout, num_keys=0, num_chests=0).room()
    full = KeysAndChestsLevels(height, width, layout, num_keys=0, num_chests=room - 1)
    for picture in pictures_of(full):
        assert picture.count("c") == room - 1


# --- distances and areas --------------------------------------------------------------


@pytest.mark.parametrize("openness", [0.0, 0.5])
def test_distances_equal_breadth_first_search(openness):
    walls = mazes.maze(jax.random.key(5), 9, 9, openness)
    source = jnp.zeros((9, 9), bool).at[1, 1].set(True)
    found = np.asarray(paths.distances(walls, source))
    level = {"walls": {(int(i), int(j)) for i, j in np.argwhere(walls)}}
    expected = reference.distances(level, (1, 1))
    assert {
        (int(i), int(j)): int(found[i, j])
        for i, j in np.argwhere(found < paths.UNREACHABLE)
    } == expected


def test_the_largest_area_is_found():
    walls = text.parse("########\n#@.#...#\n##.#.#.#\n#..#...#\n########").walls
    area = np.asarray(paths.largest_component(jnp.asarray(walls)))
    assert area.sum() == 8 and area[:, 4:7].sum() == 8
