"""The packed engine steps exactly as the world does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.worlds import packed
from malgen.worlds.keys_and_chests import (
    KeysAndChests,
    KeysAndChestsLevels,
    sample_levels,
)

BATCH, STEPS, HORIZON = 16, 150, 40
LEVELS = KeysAndChestsLevels(
    5, 6, "open", num_keys=3, num_chests=1, num_flagged=2, num_owned=1
)


def plainly(world, pool, number, actions, rows):
    """The same stream, by the world's own functions, one environment at a time."""
    step, observe = jax.jit(world.step), jax.jit(world.observe)
    terminal, key = jax.jit(world.is_terminal), jax.random.key(0)

    def level_of(row):
        return jax.tree.map(lambda leaf: leaf[row], pool)

    seen = np.zeros((*actions.shape, *pool.walls.shape[1:], 7), bool)
    opened, ended = np.zeros(actions.shape, bool), np.zeros(actions.shape, bool)
    for i in range(number):
        level = level_of(i)
        state, clock = world.reset(key, level), 0
        for t in range(len(actions)):
            following = step(key, state, actions[t, i], level)
            clock += 1
            opened[t, i] = following.chests.sum() < state.chests.sum()
            ended[t, i] = bool(terminal(following, level)) or clock >= HORIZON
            state = following
            if ended[t, i]:
                level = level_of(rows[t, i])
                state, clock = world.reset(key, level), 0
            seen[t, i] = observe(state, level)
    return seen, opened, ended


@pytest.mark.parametrize(
    "world", [KeysAndChests(), KeysAndChests(False, False)], ids=["as-is", "endless"]
)
def test_the_packed_engine_steps_as_the_world_does(world):
    pool = sample_levels(jax.random.key(0), LEVELS, BATCH)
    key_action, key_row = jax.random.split(jax.random.key(1))
    actions = jax.random.randint(key_action, (STEPS, BATCH), 0, world.num_actions)
    rows = jax.random.randint(key_row, (STEPS, BATCH), 0, BATCH)
    start = jax.tree.map(lambda leaf: leaf[:4], packed.pack(pool))
    start = (start, jnp.zeros(4, jnp.int32))
    actions, rows = actions[:, :4], rows[:, :4]
    half = STEPS // 2
    go_on, first = packed.stream(
        world, pool, start, actions[:half], rows[:half], HORIZON
    )
    _, second = packed.stream(world, pool, go_on, actions[half:], rows[half:], HORIZON)
    found = jax.tree.map(lambda *x: np.concatenate(x), first, second)
    seen, opened, ended = plainly(world, pool, 4, np.asarray(actions), np.asarray(rows))
    np.testing.assert_array_equal(packed.planes(jnp.asarray(found.tiles)), seen)
    np.testing.assert_array_equal(found.opened, opened)
    np.testing.assert_array_equal(found.ended, ended)
    # otherwise nothing was compared
    assert opened.any() and ended.any()
    if world.ends_on_completion:
        assert ended.sum() > 4 * (STEPS // HORIZON)  # some end before the horizon


def test_one_program_serves_every_pool_of_a_size():
    """Fresh levels must not compile anything anew, and the program stays small."""
    pools = [sample_levels(jax.random.key(i), LEVELS, BATCH) for i in range(2)]
    world, traced = KeysAndChests(), 0

    def stepped(pool, action):
        nonlocal traced
        traced += 1
        state = packed.step(packed.pack(pool), action, pool.walls.shape[2])
        return packed.observe(world, state), packed.is_terminal(world, state)

    action = jnp.zeros(BATCH, jnp.int32)
    compiled = jax.jit(stepped)
    for pool in pools:
        compiled(pool, action)
    assert traced == 1
    start = packed.pack(pools[0])
    jaxpr = jax.make_jaxpr(lambda s, a: packed.observe(world, packed.step(s, a, 6)))
    assert len(jaxpr(start, action).eqns) < 120
