"""Proximal policy optimization: one compiled program, training seeds side by side.

Source: Schulman et al. 2017, "Proximal policy optimization algorithms"; names and
details as in CleanRL's ``ppo.py`` (Huang et al. 2022), with three differences. (1) An
episode that reaches the horizon is shown to the network once more before it is
reset: this gives the value to bootstrap from without a second forward pass, and such
"looks" are left out of every loss. (2) Minibatches are blocks of consecutive steps of
all environments, which needs no shuffling; environments are independent, so a block
is as diverse as a shuffled one. (3) Levels come from a pool that is drawn in bulk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from malgen.errors import ConfigError
from malgen.training.gae import gae
from malgen.types import ActorCritic, Objective, Task


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Hyper-parameters, with CleanRL's names.

    Attributes:
        total_timesteps: environment steps per training run, at most.
        learning_rate: of Adam, at the start.
        anneal_lr: lower the learning rate linearly to ``final_lr`` times its start.
        final_lr: share of the learning rate that is left at the end.
        num_envs: environments of one run that step together.
        num_steps: steps per environment between two updates.
        num_minibatches: blocks of steps that each make one gradient step.
        update_epochs: how often each block is used.
        gamma: discount; None takes the task's.
        gae_lambda: of generalized advantage estimation.
        norm_adv: normalize advantages within a minibatch.
        clip_coef: how far the probability ratio may pay off from 1.
        clip_vloss: clip the value loss like the policy loss.
        ent_coef: weight of the entropy, at the start.
        final_ent: share of ``ent_coef`` that is left at the end (linear).
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
        adam_eps: of Adam.
        pool_size: levels in the pool from which episodes are drawn.
        pool_chunks: a fresh pool is drawn after this many chunks.
        chunk_updates: updates per compiled call; progress, evaluation and
            checkpoints happen between calls.
        stop_at: stop when every seed's estimated share of openable chests on
            held-out training levels is at least this; None trains to the end.
        stop_in_a_row: how many evaluations in a row must say so.
        eval_chunks: evaluate after every this many chunks.
    """

    total_timesteps: int
    learning_rate: float = 1e-3
    anneal_lr: bool = True
    final_lr: float = 0.0
    num_envs: int = 256
    num_steps: int = 64
    num_minibatches: int = 4
    update_epochs: int = 2
    gamma: float | None = None
    gae_lambda: float = 0.95
    norm_adv: bool = True
    clip_coef: float = 0.2
    clip_vloss: bool = False
    ent_coef: float = 0.01
    final_ent: float = 1.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    adam_eps: float = 1e-5
    pool_size: int = 4096
    pool_chunks: int = 1
    chunk_updates: int = 8
    stop_at: float | None = None
    stop_in_a_row: int = 1
    eval_chunks: int = 2
    type: str = "ppo"

    def __post_init__(self):
        """Refuse what cannot work, with one sentence."""
        counts = (
            "total_timesteps num_envs num_steps num_minibatches update_epochs "
            "pool_size pool_chunks chunk_updates stop_in_a_row eval_chunks"
        )
        for name in counts.split():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; give a whole number above 0.")
        if self.num_steps % self.num_minibatches:
            raise ConfigError(
                f"num_steps is {self.num_steps}, which {self.num_minibatches} "
                "minibatches cannot share evenly; choose a multiple."
            )
        if not self.learning_rate > 0:
            raise ConfigError(
                f"learning_rate is {self.learning_rate!r}; give a number above 0."
            )
        for name in ("gamma", "gae_lambda", "final_lr", "final_ent", "stop_at"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}; give a number from 0 to 1.")

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one run between two updates."""
        return self.num_envs * self.num_steps

    @property
    def num_updates(self) -> int:
        """Updates within ``total_timesteps``, rounded up to whole chunks."""
        return self.num_chunks * self.chunk_updates

    @property
    def num_chunks(self) -> int:
        """Compiled calls that ``total_timesteps`` needs."""
        return -(-self.total_timesteps // (self.steps_per_update * self.chunk_updates))


class Schedule(NamedTuple):
    """Hyper-parameters that are numbers to the compiled program; scalars.

    Changing one of them compiles nothing anew.
    """

    learning_rate: Float[Array, ""]
    final_lr: Float[Array, ""]
    ent_coef: Float[Array, ""]
    final_ent: Float[Array, ""]
    num_updates: Float[Array, ""]


def schedule_from(config: PPOConfig) -> Schedule:
    """The numbers of a configuration."""
    return Schedule(
        jnp.asarray(config.learning_rate, jnp.float32),
        jnp.asarray(config.final_lr if config.anneal_lr else 1.0, jnp.float32),
        jnp.asarray(config.ent_coef, jnp.float32),
        jnp.asarray(config.final_ent, jnp.float32),
        jnp.asarray(config.num_updates, jnp.float32),
    )


def program_of(config: PPOConfig) -> PPOConfig:
    """The configuration without what the compiled update does not depend on."""
    return PPOConfig(
        total_timesteps=1, **{name: getattr(config, name) for name in _PROGRAM}
    )


_PROGRAM = (
    "num_envs",
    "num_steps",
    "num_minibatches",
    "update_epochs",
    "gamma",
    "gae_lambda",
    "norm_adv",
    "clip_coef",
    "clip_vloss",
    "vf_coef",
    "max_grad_norm",
    "adam_eps",
    "pool_size",
    "chunk_updates",
)


class Batch(NamedTuple):
    """Recorded steps, [t, b, ...], as the loss needs them.

    Attributes:
        features: what the network's ``heads`` read.
        actions: taken.
        log_probs: of these actions when they were taken.
        values: estimated when they were taken.
        advantages: of generalized advantage estimation.
        targets: for the values.
        counts: False where nothing was done (a look at a cut-off episode).
    """

    features: Any
    actions: Int[Array, "t b"]
    log_probs: Float[Array, "t b"]
    values: Float[Array, "t b"]
    advantages: Float[Array, "t b"]
    targets: Float[Array, "t b"]
    counts: Bool[Array, "t b"]


class Environments(NamedTuple):
    """Where the environments of one run stand; leaves [b, ...].

    ``clock`` counts the steps of the episode. At the horizon the state is only
    looked at, and the next step starts another level.
    """

    level: Any
    state: Any
    clock: Int[Array, " b"]


class Learner(NamedTuple):
    """Everything that one training run changes."""

    network: Any
    optimizer: Any
    environments: Environments
    key: Key[Array, ""]
    update: Int[Array, ""]


class Statistics(NamedTuple):
    """Of one update; scalars."""

    policy_loss: Float[Array, ""]
    value_loss: Float[Array, ""]
    entropy: Float[Array, ""]
    approx_kl: Float[Array, ""]
    clipfrac: Float[Array, ""]
    explained_variance: Float[Array, ""]
    mean_return: Float[Array, ""]
    episodes: Float[Array, ""]
    null_harm: Float[Array, ""]
    strays: Float[Array, ""]


class Recorded(NamedTuple):
    """What the environments did in one rollout, [t, b, ...]."""

    inputs: Any
    actions: Int[Array, "t b"]
    log_probs: Float[Array, "t b"]
    values: Float[Array, "t b"]
    rewards: Float[Array, "t b"]
    terminated: Bool[Array, "t b"]
    ended: Bool[Array, "t b"]
    counts: Bool[Array, "t b"]
    null_harm: Float[Array, ""]
    strays: Bool[Array, ""]


def optimizer_from(config: PPOConfig) -> optax.GradientTransformation:
    """Clipped Adam without its learning rate, which the update applies."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.scale_by_adam(eps=config.adam_eps),
    )


def start(key: Key[Array, ""], task: Task, config: PPOConfig, network, pool) -> Learner:
    """A run before its first update; ``pool`` has levels [pool_size, ...]."""
    key_levels, key_reset, key_run = jax.random.split(key, 3)
    rows = jax.random.randint(key_levels, (config.num_envs,), 0, config.pool_size)
    level = jax.tree.map(lambda leaf: leaf[rows], pool)
    state = jax.vmap(task.world.reset)(
        jax.random.split(key_reset, config.num_envs), level
    )
    return Learner(
        network,
        optimizer_from(config).init(eqx.filter(network, eqx.is_inexact_array)),
        Environments(level, state, jnp.zeros(config.num_envs, jnp.int32)),
        key_run,
        jnp.zeros((), jnp.int32),
    )


class Parts(NamedTuple):
    """A network cut in three, so that each part runs as rarely as it can.

    Attributes:
        weights: network -> weights, once per gradient step or rollout.
        encode: (network, observation) -> inputs, once per environment step.
        features: (network, inputs) -> what ``heads`` reads, larger than the inputs;
            once to act and once per rollout.
        heads: (network, weights, features) -> (logits, value).
    """

    weights: Callable
    encode: Callable
    features: Callable
    heads: Callable


def parts_of(network: ActorCritic) -> Parts:
    """The network's own parts (``Feedforward`` has them), or ``evaluate`` as one."""
    kind: Any = type(network)
    if hasattr(network, "heads"):
        return Parts(kind.weights, kind.encode, kind.features, kind.heads)
    return Parts(
        lambda network: network,
        lambda network, seen: seen,
        lambda network, seen: seen,
        lambda network, weights, seen: weights.evaluate(seen, None)[:2],
    )


def rollout(
    key: Key[Array, ""],
    task: Task,
    config: PPOConfig,
    null_harms: tuple[Objective, ...],
    blank: tuple[int, ...],
    network: ActorCritic,
    environments: Environments,
    pool,
) -> tuple[Environments, Recorded, Float[Array, " b"]]:
    """Let the policy act ``num_steps`` times in every environment.

    Args:
        key: consumed.
        task: world, objective and horizon.
        config: sizes.
        null_harms: objectives whose absolute sum is reported as ``null_harm``.
        blank: planes in which no observation should have a bit (``strays``).
        network: acts.
        environments: where to go on.
        pool: levels [pool_size, ...] for new episodes.

    Returns:
        Environments, what happened, and the values of the states that come next.
    """
    world, batch = task.world, config.num_envs
    parts = parts_of(network)
    weights = parts.weights(network)
    key_action, key_level, key_world = jax.random.split(key, 3)
    shape = (config.num_steps, batch)
    uniforms = jax.random.uniform(key_action, shape)
    rows = jax.random.randint(key_level, shape, 0, config.pool_size)
    keys = jax.random.split(key_world, config.num_steps)

    def look(environments):
        seen = jax.vmap(world.observe)(environments.state, environments.level)
        inputs = jax.vmap(parts.encode, in_axes=(None, 0))(network, seen)
        stray = jnp.any(jnp.stack([jnp.any(seen[..., p]) for p in blank] or [False]))
        return inputs, stray

    def judge(inputs):
        features = jax.vmap(parts.features, in_axes=(None, 0))(network, inputs)
        return jax.vmap(parts.heads, in_axes=(None, None, 0))(
            network, weights, features
        )

    def step(carry, draws):
        uniform, row, key = draws
        environments, (inputs, stray) = carry
        level, state, clock = environments
        logits, values = judge(inputs)
        log_probs = jax.nn.log_softmax(logits)
        below = jnp.cumsum(jnp.exp(log_probs), axis=1)[:, :-1] < uniform[:, None]
        action = jnp.sum(below, axis=1, dtype=jnp.int32)
        key_step, key_reset = jax.random.split(key)
        following = jax.vmap(world.step)(
            jax.random.split(key_step, batch), state, action, level
        )
        counts = clock < task.horizon
        reward = jax.vmap(task.objective)(state, action, following, level)
        harm = jnp.zeros(())
        for objective in null_harms:
            each = jax.vmap(objective)(state, action, following, level)
            harm += jnp.sum(jnp.where(counts, jnp.abs(each), 0.0))
        terminated = counts & jax.vmap(world.is_terminal)(following, level)
        recorded = Recorded(
            inputs=inputs,
            actions=action,
            log_probs=jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0],
            values=values,
            rewards=jnp.where(counts, reward, 0.0),
            terminated=terminated,
            ended=terminated | (clock + 1 >= task.horizon),
            counts=counts,
            null_harm=harm,
            strays=stray,
        )
        fresh = terminated | ~counts
        new_level = jax.tree.map(lambda leaf: leaf[row], pool)
        new_state = jax.vmap(world.reset)(jax.random.split(key_reset, batch), new_level)
        choose = jax.vmap(
            lambda new, a, b: jax.tree.map(lambda x, y: jnp.where(new, x, y), a, b)
        )
        environments = Environments(
            choose(fresh, new_level, level),
            choose(fresh, new_state, following),
            jnp.where(fresh, 0, clock + 1),
        )
        # What is seen next is carried, because a carry is computed once: XLA would
        # repeat a computation that the network and the record share in each of them.
        return (environments, look(environments)), recorded

    carry = (environments, look(environments))
    carry, recorded = jax.lax.scan(step, carry, (uniforms, rows, keys))
    environments, (inputs, _) = carry
    return environments, recorded, judge(inputs)[1]


def loss(
    network: ActorCritic,
    batch: Batch,
    config: PPOConfig,
    ent_coef: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """PPO's loss on a minibatch [t, b, ...], and its parts.

    Returns:
        ``policy_loss + vf_coef * value_loss - ent_coef * entropy``, and the parts;
        means over the steps that count.
    """
    parts = parts_of(network)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
    logits, values = jax.vmap(parts.heads, in_axes=(None, None, 0))(
        network, parts.weights(network), flat.features
    )
    weights = flat.counts.astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights), 1.0)

    def mean(numbers):
        return jnp.sum(weights * numbers)

    all_log_probs = jax.nn.log_softmax(logits)
    log_probs = jnp.take_along_axis(all_log_probs, flat.actions[:, None], 1)[:, 0]
    log_ratio = log_probs - flat.log_probs
    ratio = jnp.exp(log_ratio)
    advantages = flat.advantages
    if config.norm_adv:
        centered = advantages - mean(advantages)
        advantages = centered / (jnp.sqrt(mean(centered**2)) + 1e-8)
    clipped = jnp.clip(ratio, 1 - config.clip_coef, 1 + config.clip_coef)
    policy_loss = -mean(jnp.minimum(advantages * ratio, advantages * clipped))
    error = (values - flat.targets) ** 2
    if config.clip_vloss:
        near = flat.values + jnp.clip(
            values - flat.values, -config.clip_coef, config.clip_coef
        )
        error = jnp.maximum(error, (near - flat.targets) ** 2)
    value_loss = 0.5 * mean(error)
    entropy = -mean(jnp.sum(jnp.exp(all_log_probs) * all_log_probs, axis=1))
    total = policy_loss + config.vf_coef * value_loss - ent_coef * entropy
    outside = (jnp.abs(ratio - 1) > config.clip_coef).astype(jnp.float32)
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": mean(ratio - 1 - log_ratio),
        "clipfrac": mean(outside),
    }


def update(
    learner: Learner,
    task: Task,
    config: PPOConfig,
    schedule: Schedule,
    null_harms: tuple[Objective, ...],
    blank: tuple[int, ...],
    pool,
) -> tuple[Learner, Statistics]:
    """One rollout and the gradient steps it is used for."""
    key, key_rollout = jax.random.split(learner.key)
    environments, recorded, following = rollout(
        key_rollout,
        task,
        config,
        null_harms,
        blank,
        learner.network,
        learner.environments,
        pool,
    )
    gamma = task.discount if config.gamma is None else config.gamma
    advantages, targets = gae(
        recorded.rewards,
        jnp.concatenate([recorded.values, following[None]]),
        recorded.terminated,
        recorded.ended,
        gamma,
        config.gae_lambda,
    )
    parts = parts_of(learner.network)
    features = jax.vmap(jax.vmap(parts.features, in_axes=(None, 0)), in_axes=(None, 0))
    batch = Batch(
        features(learner.network, recorded.inputs),
        recorded.actions,
        recorded.log_probs,
        recorded.values,
        advantages,
        targets,
        recorded.counts,
    )
    blocks = jax.tree.map(
        lambda leaf: leaf.reshape(config.num_minibatches, -1, *leaf.shape[1:]), batch
    )
    optimizer = optimizer_from(config)
    progress = learner.update.astype(jnp.float32) / schedule.num_updates
    rate = schedule.learning_rate * (1 - (1 - schedule.final_lr) * progress)
    ent_coef = schedule.ent_coef * (1 - (1 - schedule.final_ent) * progress)

    def descend(carry, block):
        network, moments = carry
        gradients, parts = eqx.filter_grad(loss, has_aux=True)(
            network, block, config, ent_coef
        )
        changes, moments = optimizer.update(gradients, moments)
        changes = jax.tree.map(lambda change: -rate * change, changes)
        return (eqx.apply_updates(network, changes), moments), parts

    def epoch(carry, _):
        return jax.lax.scan(descend, carry, blocks)

    carry = (learner.network, learner.optimizer)
    (network, moments), parts = jax.lax.scan(
        epoch, carry, None, length=config.update_epochs
    )
    counts = recorded.counts.astype(jnp.float32)
    episodes = jnp.sum(counts * recorded.ended.astype(jnp.float32))
    statistics = Statistics(
        **{name: jnp.mean(values) for name, values in parts.items()},
        explained_variance=_explained(recorded.values, targets, counts),
        mean_return=jnp.sum(recorded.rewards) / jnp.maximum(episodes, 1.0),
        episodes=episodes,
        null_harm=jnp.sum(recorded.null_harm),
        strays=jnp.sum(recorded.strays.astype(jnp.float32)),
    )
    return (
        Learner(network, moments, environments, key, learner.update + 1),
        statistics,
    )


def _explained(values, targets, weights):
    """1 - Var[targets - values] / Var[targets]; 0 where targets do not vary."""
    total = jnp.maximum(jnp.sum(weights), 1.0)

    def variance(numbers):
        mean = jnp.sum(weights * numbers) / total
        return jnp.sum(weights * (numbers - mean) ** 2) / total

    spread = variance(targets)
    share = 1 - variance(targets - values) / jnp.maximum(spread, 1e-12)
    return jnp.where(spread > 1e-12, share, 0.0)
