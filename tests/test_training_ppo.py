import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.feedforward import FeedforwardConfig
from malgen.errors import ConfigError
from malgen.training import ppo
from malgen.training.evaluation import draw
from malgen.training.ppo import Batch, PPOConfig
from malgen.types import ActorCritic, Task
from malgen.worlds.keys_and_chests import (
    CHESTS,
    KEYS,
    KeysAndChests,
    KeysAndChestsLevels,
)


class Table(ActorCritic):
    """Linear logits and value, so that numpy can do the same in two lines."""

    logits: jax.Array
    value: jax.Array

    def evaluate(self, observation, carry):
        seen = observation.astype(jnp.float32).ravel()
        return seen @ self.logits, seen @ self.value, carry


def example(seed, clip_vloss=False, norm_adv=True):
    rng = np.random.default_rng(seed)
    steps, envs, inputs, actions = 4, 3, 6, 5
    parameters = rng.normal(size=(inputs, actions)), rng.normal(size=inputs)
    batch = Batch(
        features=rng.random((steps, envs, 1, 2, 3)) < 0.5,
        actions=rng.integers(0, actions, (steps, envs)).astype(np.int32),
        log_probs=np.log(rng.uniform(0.1, 0.6, (steps, envs))),
        values=rng.normal(size=(steps, envs)),
        advantages=rng.normal(size=(steps, envs)),
        targets=rng.normal(size=(steps, envs)),
        counts=rng.random((steps, envs)) < 0.8,
    )
    config = PPOConfig(
        total_timesteps=1,
        clip_vloss=clip_vloss,
        norm_adv=norm_adv,
        vf_coef=0.7,
        ent_coef=0.03,
    )
    return parameters, batch, config


def naive_loss(parameters, batch, config):
    """CleanRL's formulas step by step, float64, uncounted steps left out first."""
    logits, value = parameters
    rows = [(t, b) for t, b in np.ndindex(batch.counts.shape) if batch.counts[t, b]]
    taken = np.array([batch.advantages[r] for r in rows])
    if config.norm_adv:
        taken = (taken - taken.mean()) / (taken.std() + 1e-8)
    parts = {"policy_loss": [], "value_loss": [], "entropy": [], "clipfrac": []}
    parts["approx_kl"] = []
    for row, advantage in zip(rows, taken, strict=True):
        seen = batch.features[row].ravel().astype(float)
        odds = np.exp(seen @ logits)
        odds /= odds.sum()
        ratio = odds[batch.actions[row]] / np.exp(batch.log_probs[row])
        low, high = 1 - config.clip_coef, 1 + config.clip_coef
        unclipped, clipped = -advantage * ratio, -advantage * min(max(ratio, low), high)
        parts["policy_loss"].append(max(unclipped, clipped))
        new, old, target = seen @ value, batch.values[row], batch.targets[row]
        error = (new - target) ** 2
        if config.clip_vloss:
            near = old + min(max(new - old, -config.clip_coef), config.clip_coef)
            error = max(error, (near - target) ** 2)
        parts["value_loss"].append(error / 2)
        parts["entropy"].append(-sum(p * np.log(p) for p in odds))
        parts["clipfrac"].append(float(abs(ratio - 1) > config.clip_coef))
        parts["approx_kl"].append((ratio - 1) - np.log(ratio))
    parts = {name: np.mean(numbers) for name, numbers in parts.items()}
    total = parts["policy_loss"] + config.vf_coef * parts["value_loss"]
    return total - config.ent_coef * parts["entropy"], parts


@pytest.mark.parametrize("clip_vloss", [False, True])
@pytest.mark.parametrize("norm_adv", [False, True])
def test_loss_and_gradient_equal_a_naive_implementation(clip_vloss, norm_adv):
    run = eqx.filter_jit(eqx.filter_value_and_grad(ppo.loss, has_aux=True))
    for seed in range(3):
        parameters, batch, config = example(seed, clip_vloss, norm_adv)
        table = Table(*(jnp.asarray(p, jnp.float32) for p in parameters))
        narrow = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float32 if x.dtype == float else x.dtype),
            batch,
        )
        (total, parts), gradient = run(table, narrow, config, config.ent_coef)
        wanted, wanted_parts = naive_loss(parameters, batch, config)
        np.testing.assert_allclose(total, wanted, rtol=1e-4, atol=1e-5)
        for name, number in wanted_parts.items():
            np.testing.assert_allclose(parts[name], number, rtol=1e-4, atol=1e-5)
        slopes = []
        for which, parameter in enumerate(parameters):
            slope = np.zeros_like(parameter)
            for index in np.ndindex(parameter.shape):
                ends = []
                for sign in (1, -1):
                    moved = [p.copy() for p in parameters]
                    moved[which][index] += sign * 1e-6
                    ends.append(naive_loss(moved, batch, config)[0])
                slope[index] = (ends[0] - ends[1]) / 2e-6
            slopes.append(slope)
        np.testing.assert_allclose(gradient.logits, slopes[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(gradient.value, slopes[1], rtol=1e-3, atol=1e-4)


def test_uncounted_steps_change_nothing():
    parameters, batch, config = example(0)
    table = Table(*(jnp.asarray(p, jnp.float32) for p in parameters))
    changed = batch._replace(
        advantages=np.where(batch.counts, batch.advantages, 1e3),
        targets=np.where(batch.counts, batch.targets, 1e3),
    )
    a, b = (
        eqx.filter_grad(ppo.loss, has_aux=True)(
            table, jax.tree.map(jnp.asarray, x), config, 0.01
        )[0]
        for x in (batch, changed)
    )
    np.testing.assert_allclose(a.logits, b.logits, rtol=1e-6)
    np.testing.assert_allclose(a.value, b.value, rtol=1e-6)


HORIZON, STEPS = 12, 40


@pytest.fixture(scope="module")
def recorded():
    """A rollout on 5 x 5 levels with everything needed to replay it by hand."""
    levels = KeysAndChestsLevels(
        height=5, width=5, layout="open", num_keys=1, num_chests=4
    )
    task = Task(KeysAndChests(), levels, CHESTS, HORIZON)
    config = PPOConfig(
        total_timesteps=1, num_envs=32, num_steps=STEPS, num_minibatches=2, pool_size=32
    )
    pool = draw(jax.random.key(0), levels, config.pool_size)
    network = FeedforwardConfig(hidden=(8,)).build(jax.random.key(1), (5, 5, 7), 5)
    learner = ppo.start(jax.random.key(2), task, config, network, pool)

    @eqx.filter_jit
    def roll(learner, pool):
        return ppo.rollout(
            jax.random.key(3),
            task,
            config,
            (KEYS,),
            (),
            learner.network,
            learner.environments,
            pool,
        )

    environments, rows, following = roll(learner, pool)
    return task, pool, network, learner, environments, rows, following


def test_a_rollout_is_what_the_world_does(recorded):
    """Replay each environment by hand: states, rewards, ends, looks, and resets."""
    task, pool, network, learner, last, rows, following = recorded
    world = task.world
    step = jax.jit(lambda s, a, level: world.step(jax.random.key(0), s, a, level))
    bits = jax.jit(lambda s, level: network.encode(world.observe(s, level)))
    value = jax.jit(lambda s, level: network.evaluate(world.observe(s, level))[1])
    pool_rows = {leaves(jax.tree.map(lambda x, i=i: x[i], pool)) for i in range(32)}
    kinds = {"terminated": 0, "truncated": 0, "looked": 0}
    harm = 0.0
    for b in range(12):
        level = jax.tree.map(lambda x, b=b: x[b], learner.environments.level)
        state = jax.tree.map(lambda x, b=b: x[b], learner.environments.state)
        clock = 0
        for t in range(STEPS):
            seen = bits(state, level)
            np.testing.assert_array_equal(rows.inputs.codes[t, b], seen.codes)
            assert int(rows.inputs.held[t, b]) == int(seen.held)
            np.testing.assert_allclose(
                rows.values[t, b], value(state, level), rtol=1e-4, atol=1e-5
            )
            if clock == HORIZON:  # the cut-off state is shown once, nothing is done
                kinds["looked"] += 1
                assert not rows.counts[t, b] and rows.ended[t, b]
                assert not rows.terminated[t, b] and rows.rewards[t, b] == 0
                fresh = True
            else:
                new = step(state, rows.actions[t, b], level)
                opened = int(state.chests.sum()) - int(new.chests.sum())
                harm += int(state.keys.sum()) - int(new.keys.sum())
                terminated = bool(world.is_terminal(new, level))
                clock += 1
                truncated = not terminated and clock == HORIZON
                assert rows.counts[t, b] and rows.rewards[t, b] == opened
                assert bool(rows.terminated[t, b]) == terminated
                assert bool(rows.ended[t, b]) == (terminated or truncated)
                kinds["terminated"] += terminated
                kinds["truncated"] += truncated
                state, fresh = new, terminated
            if fresh:
                clock = 0
                level, state = next_level(rows, pool, world, t, b, last, bits)
                assert leaves(level) in pool_rows
    assert min(kinds.values()) > 2, kinds
    assert following.shape == (32,)


def next_level(rows, pool, world, t, b, last, bits):
    """The level that starts at step t + 1: the one whose start looks the same."""
    if t + 1 == STEPS:
        level = jax.tree.map(lambda x: x[b], last.level)
        return level, world.reset(jax.random.key(0), level)
    for i in range(32):
        level = jax.tree.map(lambda x, i=i: x[i], pool)
        state = world.reset(jax.random.key(0), level)
        if np.array_equal(bits(state, level).codes, rows.inputs.codes[t + 1, b]):
            return level, state
    raise AssertionError("the next episode is not on a level of the pool")


def leaves(level):
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(level))


def test_null_harm_adds_up_and_actions_have_their_probabilities(recorded):
    _, _, network, _, _, rows, _ = recorded
    assert float(jnp.sum(rows.null_harm)) > 0  # taking keys, as asked
    assert not bool(jnp.any(rows.strays))
    weights = network.weights()
    logits, _ = jax.vmap(
        jax.vmap(lambda i: network.heads(weights, network.features(i)))
    )(rows.inputs)
    wanted = jnp.take_along_axis(
        jax.nn.log_softmax(logits), rows.actions[..., None], axis=2
    )[..., 0]
    np.testing.assert_allclose(rows.log_probs, wanted, rtol=1e-4, atol=1e-5)
    counts = np.bincount(np.asarray(rows.actions).ravel(), minlength=5)
    # 1280 draws from nearly uniform rows: 5 standard errors of 1/5.
    assert np.abs(counts / counts.sum() - 0.2).max() < 5 * np.sqrt(0.16 / 1280)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"num_envs": 0}, "num_envs"),
        ({"total_timesteps": 1.5}, "total_timesteps"),
        ({"num_steps": 10, "num_minibatches": 4}, "minibatches"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"gamma": 1.5}, "gamma"),
        ({"stop_at": -0.1}, "stop_at"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        PPOConfig(**{"total_timesteps": 1000, **settings})


def test_chunks_cover_the_asked_steps():
    config = PPOConfig(
        total_timesteps=100_001, num_envs=10, num_steps=20, chunk_updates=5
    )
    assert config.steps_per_update == 200
    assert config.num_chunks == 101 and config.num_updates == 505
