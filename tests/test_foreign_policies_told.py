"""What is said about foreign policies: where they failed, and what they see."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces

from malgen import auditing
from malgen.adapters.actors import as_actor
from malgen.adapters.policies import as_policy
from malgen.adapters.stable_baselines import PredictActor
from malgen.audits.asking import first_observations
from malgen.errors import ConfigError, ContractError, ForeignError
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.worlds.keys_and_chests import sample_levels
from malgen.zoo.catalog import AGENTS

WHERE = find_scenario("keys-and-chests-small").deployment()
LEVELS = sample_levels(stream(1), WHERE.levels, 6)
WALLS = np.asarray(first_observations(LEVELS))[..., 0]
NEAREST = AGENTS["nearest-key"].build(None)


@jax.jit
def nearest(observation):
    return NEAREST(jax.random.key(0), observation, None)[0].argmax()


class FailsOn:
    """Plays well, and goes wrong on one level in one step; levels differ in walls."""

    def __init__(self, level, step, failure):
        self.level, self.left, self.failure = level, step, failure

    def __call__(self, observation):
        if (observation[..., 0] == WALLS[self.level]).all():
            self.left -= 1
            if self.left < 0:
                return self.failure()
        return int(nearest(observation))


def _raises():
    raise ValueError("lost")


def _hangs():
    while True:
        pass


def _lengths():
    """Steps of the scripted agent on each level."""
    played = collect(jax.random.key(0), WHERE.world, as_policy(nearest), LEVELS, 64)
    return np.asarray(played.active).sum(axis=1)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (_raises, ForeignError),
        (_hangs, ForeignError),
        (lambda: 7, ContractError),
        (lambda: np.full(5, np.nan), ContractError),
        (lambda: [1, 2], ContractError),
    ],
    ids=["raises", "hangs", "no action", "NaN", "shape"],
)
def test_a_mistake_is_told_with_its_level_and_step(failure, kind):
    lengths = _lengths()
    # before this level some have ended and some have not: its number is not its row
    level, step = next(
        (i, t)
        for t in range(lengths.max())
        for i in np.flatnonzero(lengths > t)
        if 0 < (lengths[:i] > t).sum() < i
    )
    policy = as_policy(FailsOn(level, step, failure), seconds=0.5)
    told = f"in step {step} on level {level} of {len(LEVELS.held)}"
    with pytest.raises(kind, match=told):
        collect(jax.random.key(0), WHERE.world, policy, LEVELS, 64)


def test_a_mistake_that_cannot_be_told_apart_names_no_level():
    class Model:
        def predict(self, observation, state=None, episode_start=None, **more):
            raise ValueError("lost")

    with pytest.raises(ForeignError) as caught:
        collect(jax.random.key(0), WHERE.world, as_policy(Model()), LEVELS, 64)
    assert "on level" not in str(caught.value)


def test_a_crop_that_is_all_there_is_on_other_levels_must_be_said():
    class Model:
        def __init__(self, cells):
            self.observation_space = spaces.MultiBinary((cells, cells, 6))

        def predict(self, observation, state=None, episode_start=None, **more):
            return np.full(len(observation), 4), state

    def seen(model, view="inferred", size=13):
        found = auditing._resolve(
            model, WHERE, (size, size), view=view, trust=False, seconds=5.0, where=""
        )
        return found.policy.view

    # 13 cells: a crop of 13x13 levels, or all that is around an agent on 9x9 ones
    with pytest.raises(ConfigError, match=r"keys-and-chests-small.*--view 13"):
        seen(Model(13))
    assert seen(Model(13), view=13) == 13
    assert seen(Model(13), size=9) == "agent"
    assert seen(Model(11)) == 11
    assert seen(Model(21)) == "agent"


def test_actors_without_named_spaces_use_their_own(tmp_path):
    rng, begins = np.random.default_rng(0), np.ones(3, bool)
    calls = []
    actor = as_actor(lambda o: (calls.append(o), 0.5 * o.sum())[1])
    choices, _ = actor.act(np.ones((3, 2)), None, begins, rng)
    assert choices.actions.tolist() == [1.0] * 3 and len(calls) == 3
    with pytest.raises(ContractError, match="NaN"):
        as_actor(lambda o: np.nan).act(np.ones((3, 2)), None, begins, rng)
    pytest.importorskip("onnx")
    from tests import graphs

    actor = as_actor(graphs.linear(tmp_path / "a.onnx", (4,)))
    choices, _ = actor.act(np.ones((3, 4)), None, begins, rng)
    assert choices.logits is not None and choices.logits.shape == (3, 5)


@pytest.mark.parametrize("kind", ["DQN", "QRDQN"])
def test_value_learners_do_not_explore(kind):
    library = pytest.importorskip("stable_baselines3")
    if kind == "QRDQN":
        library = pytest.importorskip("sb3_contrib")
    env = gymnasium.make("CartPole-v1")
    model = getattr(library, kind)("MlpPolicy", env, device="cpu", buffer_size=10)
    model.exploration_rate = 1.0
    seen = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    sure = model.predict(seen, deterministic=True)[0]
    assert (model.predict(seen)[0] != sure).any()  # on its own it does explore
    actor = PredictActor(model, (4,), env.action_space)
    found, _ = actor.act(seen, None, np.ones(64, bool), np.random.default_rng(0))
    assert (found.actions == sure).all()
