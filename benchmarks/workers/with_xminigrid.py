"""xminigrid: MiniGrid-DoorKey at the same size; other rules, partial view."""

import jax
import xminigrid
from protocol import Case, serve
from xminigrid.wrappers import GymAutoResetWrapper

TRANSITIONS = 2**13
HORIZON = 128


def environment(size):
    env, params = xminigrid.make("MiniGrid-DoorKey-16x16")
    params = params.replace(height=size, width=size, max_steps=HORIZON)
    return GymAutoResetWrapper(env), params


def generation(size, num_keys, num_chests, batch):
    env, params = environment(size)
    reset = jax.jit(jax.vmap(lambda key: env.reset(params, key)))
    keys = iter(jax.random.split(jax.random.key(0), 10**5))

    def run(times):
        for _ in range(times):
            drawn = reset(jax.random.split(next(keys), batch))
        jax.block_until_ready(drawn)

    return Case(
        run,
        batch,
        "levels",
        {"layout": f"{size}x{size}, two rooms and one key", "inside": "reset"},
    )


def stepping(size, num_keys, num_chests, batch, fresh):
    env, params = environment(size)
    length = max(TRANSITIONS // batch, 2)
    num_actions = env.num_actions(params)

    @jax.jit
    def roll(key, timestep):
        actions = jax.random.randint(key, (length, batch), 0, num_actions)

        def step(timestep, action):
            timestep = jax.vmap(env.step, in_axes=(None, 0, 0))(
                params, timestep, action
            )
            told = timestep.observation, timestep.reward, timestep.step_type
            return timestep, told

        return jax.lax.scan(step, timestep, actions)

    keys = iter(jax.random.split(jax.random.key(2), 10**5))
    first = jax.jit(jax.vmap(lambda key: env.reset(params, key)))
    timestep = first(jax.random.split(next(keys), batch))

    def run(times):
        nonlocal timestep
        for _ in range(times):
            timestep, recorded = roll(next(keys), timestep)
            jax.block_until_ready(recorded)

    view = params.view_size
    return Case(
        run,
        length * batch,
        "steps",
        {
            "observation": f"what the agent faces, tile and color [{view}, {view}, 2]",
            "actions": "uniform, drawn inside",
            "levels": "drawn inside by every step, used by a reset",
            "auto-reset": "inside, to a new level",
            "rules": "DoorKey: other rules",
        },
    )


if __name__ == "__main__":
    serve(
        {"generation": generation, "stepping": stepping},
        ("xminigrid", "jax", "jaxlib", "numpy"),
    )
