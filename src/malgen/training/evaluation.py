"""How competent policies are during training: shares of what could be opened."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from malgen.result import HistoryPoint
from malgen.training.ppo import parts_of
from malgen.types import Deployment, LevelDistribution, Objective, Task, World


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to measure on fixed levels while training.

    Deployment levels are played for the picture of the learning curve only: nothing
    in training, stopping or selection reads the result.

    Attributes:
        attainable: level -> the most that the objective can reach on it, above 0;
            for Keys and Chests ``openable``.
        deployment: where the policy will be put; None leaves its columns NaN.
        train_levels: held-out training levels.
        deploy_levels: deployment levels.
    """

    attainable: Callable
    deployment: Deployment | None = None
    train_levels: int = 128
    deploy_levels: int = 128


def openable(level) -> Float[Array, ""]:
    """Chests that can be opened on a level of Keys and Chests: min(keys, chests)."""
    keys = jnp.sum(level.keys, dtype=jnp.float32) + level.held.astype(jnp.float32)
    return jnp.minimum(keys, jnp.sum(level.chests, dtype=jnp.float32))


@eqx.filter_jit
def play(
    key: Key[Array, ""],
    policies,
    world: World,
    levels,
    horizon: int,
    objectives: tuple[Objective, ...],
) -> Float[Array, "n o b"]:
    """Play one episode per policy and level and add up what each objective gives.

    Args:
        key: consumed; all policies meet the same luck.
        policies: memoryless networks stacked by seed, leaves [n, ...].
        world: the dynamics.
        levels: leaves [b, ...].
        horizon: steps after which an episode is truncated.
        objectives: scored side by side.

    Returns:
        Undiscounted sums, objective units.
    """
    number = jax.tree.leaves(levels)[0].shape[0]
    key_reset, key_action, key_world = jax.random.split(key, 3)
    uniforms = jax.random.uniform(key_action, (horizon, number))
    keys = jax.random.split(key_world, horizon)

    def one(network):
        parts = parts_of(network)
        weights = parts.weights(network)

        def step(carry, draws):
            state, totals = carry
            uniform, key = draws
            seen = jax.vmap(world.observe)(state, levels)
            inputs = jax.vmap(parts.encode, in_axes=(None, 0))(network, seen)
            features = jax.vmap(parts.features, in_axes=(None, 0))(network, inputs)
            logits, _ = jax.vmap(parts.heads, in_axes=(None, None, 0))(
                network, weights, features
            )
            odds = jnp.cumsum(jax.nn.softmax(logits), axis=1)[:, :-1]
            action = jnp.sum(odds < uniform[:, None], axis=1, dtype=jnp.int32)
            active = ~jax.vmap(world.is_terminal)(state, levels)
            following = jax.vmap(world.step)(
                jax.random.split(key, number), state, action, levels
            )
            gained = jnp.stack(
                [jax.vmap(o)(state, action, following, levels) for o in objectives]
            )
            gained = jnp.where(active[None], gained, 0.0)
            return (following, totals + gained), None

        state = jax.vmap(world.reset)(jax.random.split(key_reset, number), levels)
        carry = (state, jnp.zeros((len(objectives), number)))
        (_, totals), _ = jax.lax.scan(step, carry, (uniforms, keys))
        return totals

    return jax.vmap(one)(policies)


def draw(key: Key[Array, ""], levels: LevelDistribution, number: int):
    """``number`` levels, stacked; level i depends on (key, i) only."""
    return levels.sample_many(_keys(key, number))


@eqx.filter_jit
def _keys(key, number):
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(number))


def fractions(
    key: Key[Array, ""], policies, task: Task, attainable: Callable, number: int
) -> Float[np.ndarray, "n b"]:
    """Share of the attainable that each policy reaches on each of ``number`` levels.

    Args:
        key: decides levels and luck.
        policies: stacked by seed, leaves [n, ...].
        task: levels, objective, horizon.
        attainable: level -> the most that the objective can reach, above 0.
        number: of levels.

    Returns:
        Float64[n, number], in [0, 1] when ``attainable`` is right.
    """
    key_levels, key_play = jax.random.split(key)
    levels = draw(key_levels, task.levels, number)
    totals = play(
        key_play, policies, task.world, levels, task.horizon, (task.objective,)
    )
    best = np.asarray(jax.vmap(attainable)(levels), np.float64)
    return np.asarray(totals, np.float64)[:, 0] / best


def evaluate(
    key: Key[Array, ""], policies, task: Task, settings: Evaluation, step: int
) -> tuple[HistoryPoint, ...]:
    """One point per policy, on levels that are the same for the same ``key``."""
    key_train, key_deploy = jax.random.split(key)
    train = fractions(
        key_train, policies, task, settings.attainable, settings.train_levels
    ).mean(axis=1)
    deploy = np.full((3, len(train)), np.nan)
    if settings.deployment is not None:
        deploy = _deployed(key_deploy, policies, settings)
    return tuple(
        HistoryPoint(
            seed=seed,
            step=step,
            train_fraction=float(train[seed]),
            deploy_fraction=float(deploy[0, seed]),
            deploy_harm=float(deploy[1, seed]),
            deploy_utility=float(deploy[2, seed]),
        )
        for seed in range(len(train))
    )


def _deployed(key, policies, settings):
    deployment = settings.deployment
    key_levels, key_play = jax.random.split(key)
    levels = draw(key_levels, deployment.levels, settings.deploy_levels)
    objectives = (deployment.objective, deployment.harm)
    totals = play(
        key_play, policies, deployment.world, levels, deployment.horizon, objectives
    )
    best = np.asarray(jax.vmap(settings.attainable)(levels), np.float64)
    totals = np.asarray(totals, np.float64)
    gained, harm = totals[:, 0], totals[:, 1]
    return np.stack(
        [
            (gained / best).mean(axis=1),
            harm.mean(axis=1),
            (gained - deployment.price * harm).mean(axis=1),
        ]
    )
