"""PPO on tasks that each isolate one thing that can be broken."""

from dataclasses import replace

import pytest
from probes import ACTION, LAST, MATCH, ONE, SIGN, look, probe

from malgen.agents.convolutional import ConvolutionalConfig
from malgen.agents.feedforward import FeedforwardConfig
from malgen.agents.weights_file import policy_at
from malgen.training.ppo import PPOConfig
from malgen.training.train import train

CONFIG = PPOConfig(
    total_timesteps=16_000,
    learning_rate=1e-2,
    num_envs=16,
    num_steps=20,
    num_minibatches=2,
    update_epochs=2,
    chunk_updates=50,
    pool_size=64,
    ent_coef=0.0,
    final_lr=0.05,
)
NETWORK = FeedforwardConfig(hidden=(16,), activation="tanh")


def learned(task, **changes):
    trained = train(0, task, replace(CONFIG, **changes), NETWORK, seeds=1)
    return policy_at(trained.policies, 0)


def test_a_constant_reward_is_valued_at_one():
    network = learned(probe(ONE))
    for bit in (False, True):
        assert look(network, bit)[1] == pytest.approx(1.0, abs=0.02)


def test_the_value_follows_what_is_seen():
    network = learned(probe(SIGN))
    assert look(network, True)[1] == pytest.approx(1.0, abs=0.05)
    assert look(network, False)[1] == pytest.approx(-1.0, abs=0.05)


def test_a_later_reward_is_discounted():
    network = learned(probe(LAST, length=3))
    for clock, value in enumerate((0.81, 0.9, 1.0)):
        assert look(network, True, clock)[1] == pytest.approx(value, abs=0.04)


def test_the_rewarded_action_is_chosen():
    probabilities, value = look(learned(probe(ACTION)), True)
    assert probabilities[2] > 0.95 and value == pytest.approx(1.0, abs=0.1)


def test_the_action_follows_what_is_seen():
    network = learned(probe(MATCH))
    assert look(network, True)[0][3] > 0.95
    assert look(network, False)[0][1] > 0.95


def test_a_truncated_episode_is_worth_what_would_have_followed():
    """One per step for ever, cut every 4 steps: 1 / (1 - 0.5) = 2 in every state."""
    task = probe(ONE, length=0, horizon=4, discount=0.5, shows_time=False)
    assert look(learned(task), True)[1] == pytest.approx(2.0, abs=0.05)


def test_a_terminated_episode_is_worth_only_what_it_had():
    """The same world, but really over after 4 steps: no later level counts."""
    network = learned(probe(ONE, length=4, horizon=9, discount=0.5))
    for clock, value in enumerate((1.875, 1.75, 1.5, 1.0)):
        assert look(network, True, clock)[1] == pytest.approx(value, abs=0.05)


def test_a_convolutional_network_learns_too():
    network = ConvolutionalConfig(channels=(4,), hidden=(16,), view="grid")
    trained = train(0, probe(MATCH), CONFIG, network, seeds=1)
    policy = policy_at(trained.policies, 0)
    assert look(policy, True)[0][3] > 0.95
    assert look(policy, False)[0][1] > 0.95
