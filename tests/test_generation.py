"""Levels drawn in bulk are the levels that are drawn one by one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.worlds import bulk
from malgen.worlds.keys_and_chests import KeysAndChestsLevels


@eqx.filter_jit
def one_by_one(levels, keys):
    return jax.vmap(levels.attempt)(keys)


def compare(levels, number, seed):
    """Bulk against one by one; how many were solvable."""
    keys = jax.random.split(jax.random.key(seed), number)
    expected, expected_solved = one_by_one(levels, keys)
    found, solved = levels.attempt_many(keys)
    for name in ("walls", "start", "keys", "chests", "flagged", "owned", "held"):
        one, other = getattr(expected, name), getattr(found, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other, err_msg=name)
    np.testing.assert_array_equal(expected_solved, solved)
    return int(np.sum(solved))


def counted(keys, chests, flagged=0, owned=0, within=128, **more):
    return {
        "num_keys": keys,
        "num_chests": chests,
        "num_flagged": flagged,
        "num_owned": owned,
        "solvable_within": within,
        **more,
    }


# Settings of one layout and size share what they compile.
CASES = [
    ("braided", 13, 13, 1000, [counted(3, 10), counted(10, 3, 4, 1, within=40)]),
    ("braided", 9, 9, 1000, [counted(2, 4, within=20), counted(6, 2, 6, 2)]),
    ("tree", 8, 11, 500, [counted(3, 3, 1), counted(5, 2), counted(0, 0)]),
    (
        "blocks",
        6,
        7,
        1000,
        # so dense that many draws have too little room
        [counted(3, 6, 3, 3, density=0.4), counted(0, 9, 0, 2, density=0.4)],
    ),
    ("open", 6, 9, 500, [counted(13, 14, 5, 5), counted(3, 10)]),
    ("braided", 3, 9, 200, [counted(2, 2)]),
    ("braided", 9, 4, 200, [counted(2, 2, openness=1.0)]),
    ("tree", 3, 3, 50, [counted(0, 0)]),
    # more than 255 edges and more cells than a word has room for
    ("braided", 25, 27, 40, [counted(6, 6, within=150)]),
]


@pytest.mark.parametrize(
    "layout, height, width, number, settings",
    CASES,
    ids=[f"{c[0]}-{c[1]}x{c[2]}" for c in CASES],
)
def test_bulk_draws_the_same_levels(layout, height, width, number, settings):
    for seed, setting in enumerate(settings):
        levels = KeysAndChestsLevels(height, width, layout, **setting)
        assert compare(levels, number, seed) == number


def test_bulk_gives_up_where_one_by_one_does():
    levels = KeysAndChestsLevels(9, 9, num_keys=6, num_chests=6, solvable_within=28)
    solved = compare(levels, 1000, 7)
    assert 0 < solved < 1000


def test_equal_weights_are_told_apart_by_their_order():
    """Two edges weigh the same once in thousands of mazes; here always."""
    weights = np.zeros((3, 4), np.uint32)
    edges = np.array([[0, 1], [0, 2], [1, 3], [2, 3]])
    weights[1] = [1, 0, 0, 0]
    weights[2] = [5, 5, 4, 5]
    tree = bulk._trees(weights, 2, 2, edges)
    np.testing.assert_array_equal(tree, [[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0]])


def test_chunks_and_sizes_do_not_matter():
    levels = KeysAndChestsLevels(9, 9, num_keys=2, num_chests=4)
    keys = jax.random.split(jax.random.key(1), bulk.CHUNK + 3)
    whole, part = levels.sample_many(keys), levels.sample_many(keys[-5:])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[-5:], b), whole, part)


@pytest.mark.parametrize("make", [lambda i: i, lambda i: jnp.asarray([i, i])])
def test_under_jit_and_for_stacks_levels_come_one_by_one(make):
    """Where the host cannot look, the same levels are drawn inside JAX."""
    levels = KeysAndChestsLevels(6, 9, "open", num_keys=2, num_chests=3)
    keys = jax.random.split(jax.random.key(1), 4)
    expected = levels.sample_many(keys)
    if np.ndim(make(2)) == 0:
        found = jax.jit(lambda k: levels.sample_many(k))(keys)
    else:
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), levels)
        many = eqx.filter_vmap(lambda one: one.sample_many(keys))(stacked)
        found = jax.tree.map(lambda leaf: leaf[1], many)
    jax.tree.map(np.testing.assert_array_equal, expected, found)


def test_other_generators_of_random_numbers_are_left_to_jax():
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    assert not bulk.supports(keys, 13)
    assert bulk.supports(jax.random.split(jax.random.key(0), 3), 13)
    levels = KeysAndChestsLevels(6, 9, "open", num_keys=2, num_chests=3)
    assert np.asarray(levels.attempt_many(keys)[1]).all()


def test_few_operations_are_compiled_for_a_level():
    """What compiling bulk generation costs; threefry is most of it."""
    count = np.arange(8, dtype=np.uint32)
    data = np.zeros((4, 2), np.uint32)
    jaxpr = jax.make_jaxpr(bulk._random_words)(data, np.uint32(0), count, count, count)
    inner = jaxpr.eqns[0].params["jaxpr"]
    assert len(inner.eqns) < 1200
