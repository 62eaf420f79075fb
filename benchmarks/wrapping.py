"""A foreign policy: what the audit's rollout costs over stepping it by hand."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.harness import Local, Row
from benchmarks.workers.protocol import Case
from malgen.adapters.policies import as_policy
from malgen.deployment import draw_levels
from malgen.rollout import collect
from malgen.scenarios import find_scenario

LEVELS = 64
MOST = 0.10  # of the time by hand


def simple(observation) -> int:
    """The cheapest policy: goes round in a circle."""
    return int(observation[:, :, 2].sum()) % 4


class Network:
    """A small NumPy network, one observation at a time, its likeliest action."""

    def __init__(self, inputs: int) -> None:
        random = np.random.default_rng(0)
        self.first = random.standard_normal((inputs, 128)).astype(np.float32)
        self.second = random.standard_normal((128, 128)).astype(np.float32)
        self.last = random.standard_normal((128, 5)).astype(np.float32)

    def __call__(self, observation) -> int:
        hidden = np.maximum(observation.astype(np.float32).ravel() @ self.first, 0)
        hidden = np.maximum(hidden @ self.second, 0)
        return int(np.argmax(hidden @ self.last))


def foreign(shape):
    """What people bring: a Stable-Baselines3 policy; None where that is missing."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return None
    import gymnasium
    import torch
    from stable_baselines3.common.policies import ActorCriticPolicy

    torch.set_num_threads(1)  # one observation at a time is no work for more
    policy = ActorCriticPolicy(
        gymnasium.spaces.MultiBinary(shape),
        gymnasium.spaces.Discrete(5),
        lambda _: 0.0,
    )
    return lambda observation: policy.predict(observation, deterministic=True)[0]


def measure(options) -> list[Row]:
    """From the cheapest policy to one in another library's format."""
    deployment = find_scenario("keys-and-chests-small").deployment()
    number = 16 if options.quick else LEVELS
    levels = draw_levels(jax.random.key(0), deployment, number).levels
    shape = (*levels.walls.shape[1:], 7)
    policies = {
        "trivial callable": simple,
        "NumPy network of 128x128": Network(math.prod(shape)),
        "Stable-Baselines3 policy": foreign(shape),
    }
    rows = []
    for name, policy in policies.items():
        what = f"wrapping a {name}, 9x9, {number} levels"
        if policy is None:
            why = "not installed: pip install 'malgen[sb3]'"
            rows.append(Row(question="wrapping", what=what, ratio=why))
            continue
        locals_ = {
            "malgen": Local(_wrapped(policy, deployment, levels)),
            "by hand": Local(_by_hand(policy, deployment, levels)),
        }
        turns = {each: local.turn for each, local in locals_.items()}
        rounds = harness.contest(turns, options.rounds, options.patience)
        row = harness.compared(
            "wrapping",
            what,
            rounds,
            locals_,
            "by hand",
            timed="playing one episode on each level; malgen's side also checks every "
            "answer and records states, actions and logits; oracles and statistics "
            "apart",
        )
        row.target = f"at most {MOST:.0%} over by hand"
        row.reached = row.numbers["median"] >= 1 / (1 + MOST)
        rows.append(row)
    return rows


def _wrapped(policy, deployment, levels) -> Case:
    """What ``malgen.audit(policy)`` does to play it."""
    wrapped = as_policy(policy)
    steps = _steps(policy, deployment, levels)

    def run(times):
        for i in range(times):
            collect(
                jax.random.key(i), deployment.world, wrapped, levels, deployment.horizon
            )

    return Case(run, steps, "steps")


def _by_hand(policy, deployment, levels) -> Case:
    """The loop that somebody would write: one compiled step of all levels."""
    world, horizon = deployment.world, deployment.horizon
    number = levels.walls.shape[0]
    key = jax.random.key(0)
    reset = jax.jit(jax.vmap(world.reset, in_axes=(None, 0)))

    @jax.jit
    def step(state, action, levels):
        following = jax.vmap(world.step, in_axes=(None, 0, 0, 0))(
            key, state, action, levels
        )
        return following, *look(following, levels)

    @jax.jit
    def look(state, levels):
        return (
            jax.vmap(world.observe)(state, levels),
            jax.vmap(world.is_terminal)(state, levels),
        )

    def run(times):
        for _ in range(times):
            state = reset(key, levels)
            seen, ended = look(state, levels)
            for _ in range(horizon):
                seen, action = np.asarray(seen), np.zeros(number, np.int32)
                for i in np.flatnonzero(~np.asarray(ended)):
                    action[i] = policy(seen[i])
                state, seen, ended = step(state, jnp.asarray(action), levels)
                if np.asarray(ended).all():
                    break

    return Case(run, _steps(policy, deployment, levels), "steps")


def _steps(policy, deployment, levels) -> int:
    """Calls of the policy in one run over all levels (both sides make as many)."""
    played = collect(
        jax.random.key(0),
        deployment.world,
        as_policy(policy),
        levels,
        deployment.horizon,
    )
    # Nobody is asked about a level that has ended.
    return int(np.asarray(played.active).sum())
