import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from malgen.training.gae import gae

STEPS = 12
_gae = jax.jit(gae)


def plain_loop(rewards, values, terminated, ended, gamma, gae_lambda):
    """Sums of discounted temporal-difference errors up to the end of the episode."""
    advantages = np.zeros(STEPS)
    for t in range(STEPS):
        weight = 1.0
        for k in range(t, STEPS):
            following = 0.0 if terminated[k] else values[k + 1]
            advantages[t] += weight * (rewards[k] + gamma * following - values[k])
            if ended[k]:
                break
            weight *= gamma * gae_lambda
    return advantages


@given(
    seed=st.integers(0, 2**31),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    gae_lambda=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_gae_equals_a_plain_loop(seed, gamma, gae_lambda):
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=STEPS), rng.normal(size=STEPS + 1)
    terminated = rng.random(STEPS) < 0.2
    ended = terminated | (rng.random(STEPS) < 0.2)
    wanted = plain_loop(rewards, values, terminated, ended, gamma, gae_lambda)
    found = _gae(
        jnp.asarray(rewards, jnp.float32),
        jnp.asarray(values, jnp.float32),
        jnp.asarray(terminated),
        jnp.asarray(ended),
        gamma,
        gae_lambda,
    )
    np.testing.assert_allclose(found.advantages, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        found.targets, wanted + values[:-1], rtol=1e-4, atol=1e-4
    )


def test_lambda_one_gives_the_return_and_lambda_zero_one_step():
    rewards = jnp.array([1.0, 2.0, 4.0])
    values = jnp.array([0.5, 0.25, 0.125, 8.0])
    no = jnp.zeros(3, bool)
    last = jnp.array([False, False, True])
    full = _gae(rewards, values, no, no, 0.5, 1.0)
    np.testing.assert_allclose(full.targets, [4.0, 6.0, 8.0])
    # Terminated: the value of what comes next does not count; truncated: it does.
    ended = _gae(rewards, values, last, last, 0.5, 1.0)
    np.testing.assert_allclose(ended.targets, [3.0, 4.0, 4.0])
    cut = _gae(rewards, values, no, last, 0.5, 1.0)
    np.testing.assert_allclose(cut.targets, full.targets)
    step = _gae(rewards, values, no, no, 0.5, 0.0)
    np.testing.assert_allclose(step.targets, [1.125, 2.0625, 8.0])


def test_several_environments_do_not_mix():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(STEPS, 3)).astype(np.float32)
    values = rng.normal(size=(STEPS + 1, 3)).astype(np.float32)
    ended = rng.random((STEPS, 3)) < 0.3
    together = _gae(rewards, values, ended, ended, 0.9, 0.8)
    for i in range(3):
        alone = _gae(rewards[:, i], values[:, i], ended[:, i], ended[:, i], 0.9, 0.8)
        np.testing.assert_allclose(
            together.advantages[:, i], alone.advantages, rtol=1e-5, atol=1e-6
        )
