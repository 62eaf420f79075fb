"""jaxgmg's Keys and Chests, run from a source folder that the user names."""

import sys
import types

# Loggers that its modules import and that nothing measured here calls.
for name in ("wandb", "tqdm"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.path.insert(0, sys.argv[1])

import jax
from jaxgmg.environments import keys_and_chests
from jaxgmg.procgen import maze_generation
from protocol import Case, serve

TRANSITIONS = 2**15
HORIZON = 128


def generator(size, num_keys, num_chests):
    return keys_and_chests.LevelGenerator(
        height=size,
        width=size,
        maze_generator=maze_generation.TreeMazeGenerator(),
        num_keys_min=num_keys,
        num_keys_max=num_keys,
        num_chests_min=num_chests,
        num_chests_max=num_chests,
    )


def environment():
    return keys_and_chests.Env(
        max_steps_in_episode=HORIZON, penalize_time=False, obs_level_of_detail=0
    )


def generation(size, num_keys, num_chests, batch):
    levels = generator(size, num_keys, num_chests)
    keys = iter(jax.random.split(jax.random.key(0), 10**6))

    def run(times):
        for _ in range(times):
            drawn = levels.vsample(next(keys), num_levels=batch)
        jax.block_until_ready(drawn)

    return Case(
        run,
        batch,
        "levels",
        {
            "layout": f"{size}x{size} spanning tree",
            "inside": "walls and items; nothing is certified",
        },
    )


def stepping(size, num_keys, num_chests, batch, fresh):
    env, levels = environment(), generator(size, num_keys, num_chests)
    length = TRANSITIONS // batch

    def roll(key, state):
        key_action, key_steps = jax.random.split(key)
        actions = jax.random.randint(key_action, (length, batch), 0, env.num_actions)
        keys = jax.random.split(key_steps, length)

        def step(state, draws):
            key, action = draws
            seen, state, reward, ended, _ = env.vstep(key, state, action)
            return state, (seen, reward, ended)

        return jax.lax.scan(step, state, (keys, actions))

    roll = jax.jit(roll)

    def begin(key):
        drawn = levels.vsample(key, num_levels=batch)
        # Compiled programs want the types that a step returns.
        return jax.tree.map(jax.numpy.asarray, env.vreset_to_level(drawn)[1])

    keys = iter(jax.random.split(jax.random.key(2), 10**6))
    state = begin(next(keys))

    def run(times):
        nonlocal state
        for _ in range(times):
            if fresh:
                state = begin(next(keys))
            state, recorded = roll(next(keys), state)
            jax.block_until_ready(recorded)

    return Case(
        run,
        TRANSITIONS,
        "steps",
        {
            "observation": f"bool planes [{size}, {size}, 5], all of them written out",
            "actions": "uniform, drawn inside",
            "levels": "drawn inside" if fresh else "drawn before",
            "auto-reset": "inside, always to the level that was just played",
        },
    )


if __name__ == "__main__":
    serve(
        {"generation": generation, "stepping": stepping},
        ("jax", "jaxlib", "flax", "distrax", "numpy"),
    )
