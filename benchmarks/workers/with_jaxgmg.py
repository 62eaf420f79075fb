"""jaxgmg's Keys and Chests, found on the path that ``--jaxgmg`` names."""

import itertools
import sys

import jax
import optax
from flax.training.train_state import TrainState
from jaxgmg.baselines import autocurricula, experience, networks
from jaxgmg.baselines.ppo import ppo_update
from jaxgmg.environments import keys_and_chests
from jaxgmg.procgen import maze_generation
from protocol import Case, serve

TRANSITIONS = 2**14
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


def ppo(size, num_keys, num_chests, hidden, settings):
    """Its training cycle, without logs, evaluations and checkpoints."""
    env = environment()
    levels = generator(size, num_keys, num_chests)
    gen = autocurricula.InfiniteDomainRandomisation(level_generator=levels)
    gen_state = gen.init()
    spec = f"relu:{len(hidden)}x{hidden[0]}"
    net = networks.get_architecture(spec, num_actions=env.num_actions)
    example = levels.sample(jax.random.key(0))
    params, net_state = net.init_params_and_state(
        rng=jax.random.key(1), obs_type=env.obs_type(level=example)
    )
    train_state = TrainState.create(
        apply_fn=jax.vmap(net.apply, in_axes=(None, 0, 0, 0)),
        params=params,
        tx=optax.chain(
            optax.clip_by_global_norm(settings["max_grad_norm"]),
            optax.adam(learning_rate=settings["learning_rate"]),
        ),
    )
    # Compiled here although its own loop does not; in its favor.
    advantages_of = jax.jit(
        jax.vmap(experience.generalised_advantage_estimation, in_axes=(0, None, None))
    )
    batch, length = settings["num_envs"], settings["num_steps"]
    keys = iter(jax.random.split(jax.random.key(2), 10**5))

    def run(times):
        nonlocal train_state, gen_state
        for _ in range(times):
            gen_state, drawn = gen.get_batch(
                state=gen_state, rng=next(keys), num_levels=batch
            )
            rollouts = experience.collect_rollouts(
                rng=next(keys),
                num_steps=length,
                train_state=train_state,
                net_init_state=net_state,
                env=env,
                levels=drawn,
            )
            advantages = advantages_of(rollouts, settings["gae_lambda"], 0.99)
            train_state, _ = ppo_update(
                rng=next(keys),
                train_state=train_state,
                rollouts=rollouts,
                advantages=advantages,
                num_epochs=settings["update_epochs"],
                num_minibatches_per_epoch=settings["num_minibatches"],
                gamma=0.99,
                clip_eps=settings["clip_coef"],
                entropy_coeff=settings["ent_coef"],
                critic_coeff=settings["vf_coef"],
                compute_metrics=False,
            )
        jax.block_until_ready(train_state)

    sizes = [size * size * 5, *hidden]
    layers = [list(pair) for pair in itertools.pairwise(sizes)]
    return Case(
        run,
        batch * length,
        "steps",
        {
            "inside": f"levels ({batch} new ones every {length} steps), rollouts, "
            "updates",
            "layers": [*layers, [hidden[-1] + env.num_actions, env.num_actions + 1]],
        },
    )


if __name__ == "__main__":
    serve(
        {"generation": generation, "stepping": stepping, "ppo": ppo},
        ("jax", "jaxlib", "flax", "distrax", "numpy"),
        {"jaxgmg": sys.argv[1]},
    )
