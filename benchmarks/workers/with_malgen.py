"""malgen as it is measured: through functions that anybody may call."""

import dataclasses
import importlib
import itertools
import time

import equinox as eqx
import flops
import jax
import jax.numpy as jnp
from protocol import Case, serve

from malgen.agents.feedforward import FeedforwardConfig
from malgen.scenarios import find_scenario
from malgen.training.evaluation import Evaluation, openable
from malgen.training.ppo import PPOConfig, parts_of
from malgen.training.recipes import RECIPES
from malgen.training.train import train
from malgen.types import Task
from malgen.worlds.keys_and_chests import (
    CHESTS,
    KeysAndChests,
    KeysAndChestsLevels,
    sample_levels,
)

try:
    from malgen.worlds import packed
except ImportError:
    packed = None

# The same number of transitions per call at every batch, so that the observations of
# one call take the same room: less than the 32 MiB from which the C library asks the
# system for fresh pages in every call, which would be most of the time.
TRANSITIONS = 2**14
HORIZON = 128
POOL = 4096


def distribution(size, num_keys, num_chests):
    return KeysAndChestsLevels(
        height=size,
        width=size,
        num_keys=num_keys,
        num_chests=num_chests,
        solvable_within=HORIZON,
    )


def generation(size, num_keys, num_chests, batch):
    levels = distribution(size, num_keys, num_chests)
    keys = iter(jax.random.split(jax.random.key(0), 10**6))

    def run(times):
        for _ in range(times):
            drawn = sample_levels(next(keys), levels, batch)
        jax.block_until_ready(drawn)

    return Case(
        run,
        batch,
        "levels",
        {
            "layout": f"{size}x{size} spanning tree, half of the other walls opened",
            "inside": "walls, items, and a walked certificate that the level can be "
            "completed in time",
        },
    )


def stepping(size, num_keys, num_chests, batch, fresh, plain=False):
    """A stream of steps, with the packed engine where there is one.

    ``plain`` steps and looks through ``World.step`` and ``World.observe`` only.
    """
    world, levels = KeysAndChests(), distribution(size, num_keys, num_chests)
    length = TRANSITIONS // batch
    drawn = TRANSITIONS // HORIZON if fresh else POOL
    begin, stream, how = _plain() if plain or packed is None else _packed()

    @jax.jit
    def start(pool):
        return begin(world, jax.tree.map(lambda leaf: leaf[:batch], pool))

    @jax.jit
    def roll(key, pool, carry):
        key_action, key_row = jax.random.split(key)
        actions = jax.random.randint(key_action, (length, batch), 0, world.num_actions)
        rows = jax.random.randint(key_row, (length, batch), 0, drawn)
        return stream(world, pool, carry, actions, rows)

    pool = sample_levels(jax.random.key(1), levels, drawn)
    carry = start(pool)
    keys = iter(jax.random.split(jax.random.key(2), 10**6))

    def run(times):
        nonlocal carry
        for _ in range(times):
            supply = pool
            if fresh:
                supply = sample_levels(next(keys), levels, drawn)
                carry = start(supply)
            carry, recorded = roll(next(keys), supply, carry)
            jax.block_until_ready(recorded)

    return Case(
        run,
        TRANSITIONS,
        "steps",
        {
            "observation": f"bool planes [{size}, {size}, 7], all of them written out",
            "engine": how,
            "actions": "uniform, drawn inside",
            "levels": "drawn inside" if fresh else "a pool drawn before",
            "auto-reset": "inside, to another level of the pool",
        },
    )


def _packed():
    """One byte per cell inside, planes made afterwards."""

    def begin(world, levels):
        state = packed.pack(levels)
        return state, jnp.zeros(state.cell.shape, jnp.int32)

    def stream(world, pool, carry, actions, rows):
        carry, steps = packed.stream(world, pool, carry, actions, rows, HORIZON)
        return carry, (packed.planes(steps.tiles), steps.opened, steps.ended)

    return begin, stream, "malgen.worlds.packed"


def _plain():
    """World.step and World.observe, one step of all environments after another."""
    key = jax.random.key(0)  # the world is certain and never uses it

    def begin(world, levels):
        state = jax.vmap(world.reset, in_axes=(None, 0))(key, levels)
        return levels, state, jnp.zeros(levels.held.shape, jnp.int32)

    def stream(world, pool, carry, actions, rows):
        def step(carry, draws):
            level, state, clock = carry
            action, row = draws
            following = jax.vmap(world.step, in_axes=(None, 0, 0, 0))(
                key, state, action, level
            )
            reward = jax.vmap(CHESTS)(state, action, following, level)
            ended = jax.vmap(world.is_terminal)(following, level)
            ended |= clock + 1 >= HORIZON
            begun = begin(world, jax.tree.map(lambda leaf: leaf[row], pool))
            choose = jax.vmap(
                lambda new, a, b: jax.tree.map(lambda x, y: jnp.where(new, x, y), a, b)
            )
            carry = choose(ended, begun, (level, following, clock + 1))
            seen = jax.vmap(world.observe)(carry[1], carry[0])
            return carry, (seen, reward, ended)

        return jax.lax.scan(step, carry, (actions, rows))

    return begin, stream, "World.step and World.observe"


def layers_of(size, config, num_actions):
    """(inputs, outputs) of each matrix product of one forward pass, heads as one."""
    network = config.build(jax.random.key(0), (size, size, 7), num_actions)
    # Training leaves out the planes that no training level can show.
    weights = network.without((4, 5)).weights()
    products = [list(m.shape) for matrices, _ in weights.trunk for m in matrices]
    return [*products, [config.hidden[-1], num_actions + 1]]


def ppo(size, num_keys, num_chests, network, hidden, settings):
    """Training runs of one chunk; every run starts anew, compiled once."""
    world = KeysAndChests()
    task = Task(world, distribution(size, num_keys, num_chests), CHESTS, HORIZON, 0.99)
    once = PPOConfig(total_timesteps=1, anneal_lr=False, **settings)
    chunk = once.steps_per_update * once.chunk_updates
    config = FeedforwardConfig(hidden=tuple(hidden), **network)
    seeds = itertools.count()

    def run(times):
        steps = PPOConfig(total_timesteps=times * chunk, anneal_lr=False, **settings)
        trained = train(next(seeds), task, steps, config, seeds=1)
        jax.block_until_ready(trained.policies)

    return Case(
        run,
        chunk,
        "steps",
        {
            "inside": f"levels (a new pool of {once.pool_size} every {chunk} steps), "
            "initialization, rollouts, updates, statistics",
            "layers": layers_of(size, config, world.num_actions),
        },
    )


def network(kind, size, batch, gradient):
    """One network on a batch of observations: acting, or a gradient of its outputs."""
    if kind == "feedforward":
        config = FeedforwardConfig()
    else:
        config = importlib.import_module(
            "malgen.agents.convolutional"
        ).ConvolutionalConfig()
    world = KeysAndChests()
    levels = sample_levels(jax.random.key(0), distribution(size, 3, 10), batch)
    state = jax.vmap(world.reset, in_axes=(None, 0))(jax.random.key(0), levels)
    seen = jax.vmap(world.observe)(state, levels)
    net = config.build(jax.random.key(1), seen.shape[1:], world.num_actions)
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)

    def outputs(arrays, seen):
        net = eqx.combine(arrays, rest)
        parts = parts_of(net)
        inputs = jax.vmap(parts.encode, in_axes=(None, 0))(net, seen)
        features = jax.vmap(parts.features, in_axes=(None, 0))(net, inputs)
        return jax.vmap(parts.heads, in_axes=(None, None, 0))(
            net, parts.weights(net), features
        )

    def size_of(arrays, seen):
        return sum(jnp.mean(each**2) for each in outputs(arrays, seen))

    function = jax.grad(size_of) if gradient else outputs
    compiled = jax.jit(function)

    def run(times):
        for _ in range(times):
            jax.block_until_ready(compiled(arrays, seen))

    return Case(
        run,
        flops.count(function, arrays, seen),
        "FLOP",
        {"inside": f"the view and the network on {batch} observations, {size}x{size}"},
    )


def gate(scenario, stop_at, levels, chunk_updates):
    """The recipe of a scenario until it is competent; each run starts anew."""
    task, recipe = find_scenario(scenario).task(), RECIPES[scenario]
    config = dataclasses.replace(
        recipe.ppo,
        stop_at=stop_at,
        # Looked at more often than a recipe would, with as few fresh pools.
        chunk_updates=chunk_updates,
        pool_chunks=max(recipe.ppo.chunk_updates // chunk_updates, 1),
        eval_chunks=1,
    )
    evaluation = Evaluation(attainable=openable, train_levels=levels)

    def run(times):
        """One run; ``times`` is its seed."""
        began = time.perf_counter()
        trained = train(
            times, task, config, recipe.network, seeds=1, evaluation=evaluation
        )
        jax.block_until_ready(trained.policies)
        history = trained.history
        return {
            "seconds": time.perf_counter() - began,
            "steps": history.steps,
            "reached": history.stopped_early,
            "fraction": history.points[-1].train_fraction,
        }

    ppo = recipe.ppo
    settings = {
        "num_envs": ppo.num_envs,
        "num_steps": ppo.num_steps,
        "num_minibatches": ppo.num_minibatches,
        "update_epochs": ppo.update_epochs,
        "learning_rate": ppo.learning_rate,
        "gae_lambda": ppo.gae_lambda,
        "clip_coef": ppo.clip_coef,
        "ent_coef": ppo.ent_coef,
        "vf_coef": ppo.vf_coef,
        "max_grad_norm": ppo.max_grad_norm,
    }
    hidden = list(recipe.network.hidden)
    return Case(run, 1, "runs", {"settings": settings, "hidden": hidden})


if __name__ == "__main__":
    serve(
        {
            "generation": generation,
            "stepping": stepping,
            "ppo": ppo,
            "network": network,
            "gate": gate,
        },
        ("malgen", "jax", "jaxlib", "equinox", "numpy"),
    )
