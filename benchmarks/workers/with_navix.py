"""navix: DoorKey with a random start, at the same size; other rules."""

import jax
import navix
from navix.environments.door_key import DoorKey
from protocol import Case, serve

TRANSITIONS = 2**13
HORIZON = 128


def environment(size):
    return DoorKey.create(
        height=size,
        width=size,
        max_steps=HORIZON,
        random_start=True,
        observation_fn=navix.observations.symbolic,
        reward_fn=navix.rewards.on_goal_reached,
        termination_fn=navix.terminations.on_goal_reached,
    )


def generation(size, num_keys, num_chests, batch):
    env = environment(size)
    reset = jax.jit(jax.vmap(env.reset))
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
    env = environment(size)
    length = max(TRANSITIONS // batch, 2)

    @jax.jit
    def roll(key, timestep):
        actions = jax.random.randint(key, (length, batch), 0, len(env.action_set))

        def step(timestep, action):
            timestep = jax.vmap(env.step)(timestep, action)
            told = timestep.observation, timestep.reward, timestep.step_type
            return timestep, told

        return jax.lax.scan(step, timestep, actions)

    keys = iter(jax.random.split(jax.random.key(2), 10**5))
    timestep = jax.jit(jax.vmap(env.reset))(jax.random.split(next(keys), batch))

    def run(times):
        nonlocal timestep
        for _ in range(times):
            timestep, recorded = roll(next(keys), timestep)
            jax.block_until_ready(recorded)

    return Case(
        run,
        length * batch,
        "steps",
        {
            "observation": f"symbolic [{size}, {size}, 3], 1 byte each",
            "actions": "uniform, drawn inside",
            "levels": "drawn inside by every reset",
            "auto-reset": "inside, to a new level",
            "rules": "DoorKey: other rules",
        },
    )


if __name__ == "__main__":
    serve(
        {"generation": generation, "stepping": stepping},
        ("navix", "jax", "jaxlib", "numpy"),
    )
