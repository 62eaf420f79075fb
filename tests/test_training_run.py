from dataclasses import replace

import jax
import numpy as np
import pytest

from malgen.agents.feedforward import FeedforwardConfig
from malgen.agents.weights_file import policy_at
from malgen.errors import ConfigError, ContractError
from malgen.training.checkpoint import NAME
from malgen.training.evaluation import Evaluation, fractions, openable
from malgen.training.ppo import PPOConfig
from malgen.training.recipes import RECIPES
from malgen.training.train import train
from malgen.types import Deployment, Task
from malgen.worlds.keys_and_chests import (
    CHESTS,
    EXCESS,
    TRAPPED,
    KeysAndChests,
    KeysAndChestsLevels,
)


def levels(keys, chests):
    return KeysAndChestsLevels(
        height=7, width=7, num_keys=keys, num_chests=chests, solvable_within=24
    )


TASK = Task(KeysAndChests(), levels(1, 3), CHESTS, 24)
HARMFUL = Task(KeysAndChests(), levels(4, 1), CHESTS, 24)
CONFIG = PPOConfig(
    total_timesteps=4 * 4 * 256,
    num_envs=32,
    num_steps=8,
    num_minibatches=2,
    pool_size=64,
    pool_chunks=2,
    chunk_updates=4,
    eval_chunks=2,
)
EVALUATION = Evaluation(
    attainable=openable,
    deployment=Deployment(
        KeysAndChests(), levels(4, 1), CHESTS, EXCESS, price=2.0, horizon=24
    ),
    train_levels=16,
    deploy_levels=16,
)
NETWORK = FeedforwardConfig(hidden=(16,), symmetric=True)


def go(task=TASK, config=CONFIG, seeds=2, **settings):
    return train(
        7,
        task,
        config,
        NETWORK,
        seeds=seeds,
        null_harms=(EXCESS, TRAPPED),
        evaluation=EVALUATION,
        **settings,
    )


def same(a, b):
    return jax.tree.all(
        jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b)
    )


@pytest.fixture(scope="module")
def undisturbed():
    return go()


def test_history_and_policies(undisturbed):
    policies, history = undisturbed
    assert history.steps == 4096 and not history.stopped_early
    assert [(p.step, p.seed) for p in history.points] == [
        (2048, 0),
        (2048, 1),
        (4096, 0),
        (4096, 1),
    ]
    for point in history.points:
        assert 0 <= point.train_fraction <= 1 and 0 <= point.deploy_fraction <= 1
        assert point.deploy_harm >= 0
        # one chest can be opened on each deployment level
        assert point.deploy_utility == pytest.approx(
            point.deploy_fraction - 2.0 * point.deploy_harm
        )
    assert len(history.losses) == 4 * 2
    row = history.losses[0]
    assert 1.5 < row.entropy < 1.61 and row.approx_kl > -1e-6 and row.value_loss > 0
    assert policies.critic_bias.shape == (2,) and policies.skipped == ()
    assert not same(policy_at(policies, 0), policy_at(policies, 1))


def test_the_same_seed_gives_the_same_bytes(undisturbed):
    again = go()
    assert same(again.policies, undisturbed.policies)
    assert again.history == undisturbed.history


def test_a_run_does_not_depend_on_the_runs_beside_it(undisturbed):
    alone = go(seeds=1)
    beside, single = policy_at(undisturbed.policies, 0), policy_at(alone.policies, 0)
    for a, b in zip(jax.tree.leaves(beside), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert alone.history.losses[0].policy_loss == pytest.approx(
        undisturbed.history.losses[0].policy_loss, abs=1e-5
    )


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_bytes(after, undisturbed, tmp_path):
    seen = []

    def interrupt(progress):
        seen.append(progress)
        if len(seen) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(checkpoint_dir=tmp_path, on_progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    rest = []
    resumed = go(checkpoint_dir=tmp_path, resume=True, on_progress=rest.append)
    assert same(resumed.policies, undisturbed.policies)
    assert resumed.history == undisturbed.history
    assert len(rest) == 4 - after
    last = rest[-1]
    assert last.fraction == 1 and last.step == last.total == 4096
    assert last.seconds_left == 0 and last.steps_per_second > 0
    assert len(last.train_fraction) == 2
    finished = go(checkpoint_dir=tmp_path, resume=True, on_progress=pytest.fail)
    assert same(finished.policies, undisturbed.policies)
    assert finished.history == undisturbed.history


def test_bad_checkpoints_are_refused_in_one_sentence(tmp_path):
    assert go(  # nothing to resume is not an error
        config=replace(CONFIG, total_timesteps=1024),
        checkpoint_dir=tmp_path,
        resume=True,
    )
    path = tmp_path / NAME
    blob = path.read_bytes()
    with pytest.raises(ConfigError, match="other settings"):
        go(checkpoint_dir=tmp_path, resume=True)
    for damaged in (blob[: len(blob) // 2], b"", b"\x00" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="damaged") as caught:
            go(checkpoint_dir=tmp_path, resume=True)
        assert "\n" not in str(caught.value)


def test_harm_in_training_is_refused():
    """A negative control: with more keys than chests, keys can be useless."""
    with pytest.raises(ContractError, match="'excess'"):
        go(task=HARMFUL)
    assert go(task=HARMFUL, assert_train_null=False).history.steps == 4096


def test_training_stops_when_every_seed_is_competent():
    easy = go(config=replace(CONFIG, stop_at=0.0))
    assert easy.history.stopped_early and easy.history.steps == 2048
    twice = go(config=replace(CONFIG, stop_at=0.0, stop_in_a_row=2))
    assert twice.history.stopped_early and twice.history.steps == 4096
    hard = go(config=replace(CONFIG, stop_at=1.0))
    assert not hard.history.stopped_early


def test_deployment_does_not_influence_training(undisturbed):
    without = train(
        7,
        TASK,
        CONFIG,
        NETWORK,
        seeds=2,
        null_harms=(EXCESS, TRAPPED),
        evaluation=replace(EVALUATION, deployment=None),
    )
    assert same(without.policies, undisturbed.policies)
    assert np.isnan(without.history.points[0].deploy_harm)
    for a, b in zip(without.history.points, undisturbed.history.points, strict=True):
        assert a.train_fraction == b.train_fraction


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="seeds"):
        go(seeds=0)
    with pytest.raises(ConfigError, match="stop_at"):
        train(0, TASK, replace(CONFIG, stop_at=0.9), NETWORK)


def test_an_exploding_loss_is_told():
    with pytest.raises(ContractError, match="learning rate"):
        go(config=replace(CONFIG, learning_rate=1e30))


def test_a_small_recipe_learns_a_small_world():
    """7 x 7 mazes: far above the start (0.2) after 131k steps."""
    recipe = RECIPES["keys-and-chests-small"]
    config = replace(
        recipe.ppo,
        total_timesteps=131_072,
        num_envs=32,
        chunk_updates=64,
        pool_size=1024,
    )
    task = Task(KeysAndChests(), levels(2, 4), CHESTS, 32)
    network = replace(recipe.network, hidden=(64, 64))
    trained = train(0, task, config, network, seeds=1, null_harms=(EXCESS,))
    share = fractions(jax.random.key(1), trained.policies, task, openable, 256)
    assert share.shape == (1, 256)
    assert share.mean() > 0.5
