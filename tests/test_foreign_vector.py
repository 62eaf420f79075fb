"""A vector environment in a scenario: the same numbers, or one sentence."""

import time

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from tests.button import (
    HORIZON,
    Button,
    first_good_then_harmful,
    presser,
    scenario,
)

import malgen
from malgen.errors import ContractError, ForeignError
from malgen.foreign.check import SEEDED, check_scenario
from malgen.foreign.vector import Rows

LEVELS = 20


class Early(Button):
    """Ends by itself, each level in another step."""

    def reset(self, *, seed=None, options=None):
        found = super().reset(seed=seed, options=options)
        self.enough = int(self.np_random.integers(0, 6))
        return found

    def step(self, action):
        seen, reward, _, truncated, info = super().step(action)
        if self.steps % 2:  # an environment need not return everything each time
            info["odd"] = {"step": self.steps}
        return seen, reward, self.coins <= self.enough, truncated, info


def alone(env=Early, **more):
    """The scenario with one environment at a time."""
    sides = {"train": env, "deploy": lambda: env(deployed=True)}
    return scenario(attainable=None, **sides, **more)


def together(number, mode=AutoresetMode.NEXT_STEP, env=Early, make=None, **more):
    """The scenario with several in one."""
    make = make or (lambda envs: SyncVectorEnv(envs, autoreset_mode=mode))

    def side(deployed):
        return lambda: make([lambda: env(deployed=deployed)] * number)

    sides = {"train": side(False), "deploy": side(True)}
    return scenario(attainable=None, **sides, **more)


def odds(observation):
    """Logits: the draws are the episode's own."""
    return np.array([0.0, 1.0, observation[1] / HORIZON])


class Counting:
    """A memory: presses in every third step of its own episode."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        count = np.zeros(len(observation), int) if state is None else state[0]
        count = np.where(episode_start, 0, count) + 1
        return np.where(count % 3 == 0, 2, 1), (count,)


def hurts(transition):
    """A harm as a function of what was seen before and after."""
    was, seen = transition.observation, transition.next_observation
    fell = was[0] > seen[0]
    return float(transition.info["hurt"] and fell and seen[1] == was[1] + 1)


@pytest.mark.parametrize(
    ("number", "mode"),
    [
        *((3, mode) for mode in AutoresetMode),
        (1, AutoresetMode.NEXT_STEP),
        (LEVELS + 1, AutoresetMode.SAME_STEP),
    ],
)
@pytest.mark.parametrize("policy", [first_good_then_harmful, odds, Counting()])
def test_the_numbers_are_those_of_one_at_a_time(policy, number, mode):
    expected = malgen.audit(policy, alone(), levels=LEVELS)
    assert expected.intended.value > 0 and expected.harm.value > 0
    assert malgen.audit(policy, together(number, mode), levels=LEVELS) == expected


def test_an_environment_that_writes_into_the_same_arrays():
    harm = {"pain": hurts}
    expected = malgen.audit(first_good_then_harmful, alone(harm=harm), levels=LEVELS)
    assert expected.harm.value > 0

    def make(envs):
        return SyncVectorEnv(envs, copy=False)

    shared = together(4, make=make, harm=harm)
    assert malgen.audit(first_good_then_harmful, shared, levels=LEVELS) == expected


def test_environments_in_processes_of_their_own():
    expected = malgen.audit(first_good_then_harmful, alone(Button), levels=LEVELS)

    def make(envs):
        return AsyncVectorEnv(envs, context="forkserver")

    apart = together(2, env=Button, make=make)
    assert malgen.audit(first_good_then_harmful, apart, levels=LEVELS) == expected


class Typed(Early):
    """What it returns beside is whole in one step and a fraction in another."""

    def step(self, action):
        seen, reward, terminated, truncated, info = super().step(action)
        some = 0.5 if self.steps % 2 else 1
        info = {"hurt": some if info["hurt"] else 0, "pressed": bool(info["pressed"])}
        info["mixed"] = {"hurt": info["hurt"]} if self.coins % 2 else info["hurt"]
        return seen, reward, terminated, truncated, info


def mixed(transition):
    """A harm that is told in two ways."""
    found = transition.info["mixed"]
    return found["hurt"] if isinstance(found, dict) else found


@pytest.mark.parametrize("mode", AutoresetMode)
def test_values_keep_the_type_that_each_environment_returned(mode):
    harm = {"pain": "info.hurt", "again": mixed}
    more = {"harm": harm, "harm_bounds": (0, 20)}
    expected = malgen.audit(first_good_then_harmful, alone(Typed, **more), levels=8)
    assert expected.harm.value % 1
    found = malgen.audit(
        first_good_then_harmful, together(3, mode, Typed, **more), levels=8
    )
    assert found == expected


# --- what goes wrong ---------------------------------------------------------------


class Raising(Early):
    """Fails on one level, late enough that others have ended."""

    broken = True

    def step(self, action):
        if Raising.broken and self.deployed and self.enough == 0 and self.steps == 5:
            raise RuntimeError("it broke")
        return super().step(action)


def test_finished_episodes_are_kept_when_one_fails(tmp_path, monkeypatch):
    more = {"levels": LEVELS, "out": tmp_path / "audit"}
    with pytest.raises(ForeignError) as caught:
        malgen.audit(presser, together(2, env=Raising), **more)
    text = str(caught.value)
    assert text.startswith("The vector environment (deployment of 'button', episodes")
    assert "raised RuntimeError in step: it broke." in text
    # those that had ended were played once
    monkeypatch.setattr(Raising, "broken", False)
    played = []
    begin = Raising.reset
    monkeypatch.setattr(
        Raising,
        "reset",
        lambda self, *, seed=None, options=None: (
            played.append(seed),
            begin(self, seed=seed, options=options),
        )[1],
    )
    found = malgen.audit(presser, together(2, env=Raising), resume=True, **more)
    assert found == malgen.audit(presser, alone(), levels=LEVELS)
    resumed = [seed for seed in played if seed is not None]
    played.clear()
    malgen.audit(presser, together(2, env=Raising), levels=LEVELS)
    assert 0 < len(resumed) < len([seed for seed in played if seed is not None])


class Slow(Early):
    def step(self, action):
        time.sleep(30)
        return super().step(action)


def test_one_that_hangs_is_stopped_and_named():
    with pytest.raises(ForeignError, match=r"episodes with seeds 0, 1.* 1 seconds"):
        malgen.audit(presser, together(2, env=Slow), levels=2, seconds=1, gate=False)


class Changed(SyncVectorEnv):
    """Returns something else."""

    def __init__(self, envs, change):
        super().__init__(envs)
        self.change = change

    def step(self, actions):
        return self.change(*super().step(actions))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o, r, t, u, i: (o, r[:1], t, u, i), "returned rewards of shape [1]"),
        (lambda o, r, t, u, i: (o, r, t, True, i), "returned truncations of shape []"),
        (lambda o, r, t, u, i: (o[:1], r, t, u, i), "one for each of the 2"),
        (lambda o, r, t, u, i: (None, r, t, u, i), "returned observations None"),
        (lambda o, r, t, u, i: None, "returned from step None"),
        (lambda o, r, t, u, i: (o, r, t, u), "returned from step"),
        (lambda o, r, t, u, i: (o, r * np.nan, t, u, i), "returned the reward nan"),
        (lambda o, r, t, u, i: (o, r, t, u, {}), "has no 'hurt' (it has nothing)"),
        (lambda o, r, t, u, i: (o, r, t, u, None), "has no 'hurt' (it has nothing)"),
        (lambda o, r, t, u, i: (o[:, :1], r, t, u, i), "of shape (1,)"),
    ],
)
def test_what_is_no_answer_for_each_is_told_in_one_sentence(change, said):
    wrong = together(2, make=lambda envs: Changed(envs, change))
    with pytest.raises(ContractError) as caught:
        malgen.audit(presser, wrong, levels=2, gate=False)
    text = str(caught.value)
    assert said in text and "seed" in text and text.count("\n") == 0
    assert text.endswith(".") and ".." not in text.replace("...", "")


def test_one_that_takes_no_list_of_seeds():
    def many():
        return gymnasium.make_vec(
            "CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point"
        )

    wrong = scenario(train=many, deploy=many)
    with pytest.raises(
        ForeignError, match="it must take a list of seeds, one for each"
    ):
        malgen.audit(lambda seen: 0, wrong, levels=2)


# --- the check ---------------------------------------------------------------------


def test_a_vector_environment_keeps_the_laws():
    laws = check_scenario(together(3, AutoresetMode.SAME_STEP))
    assert all(law.passed for law in laws), [law.note for law in laws if not law.passed]


class Shared(SyncVectorEnv):
    """What a row does depends on what stands in the first one."""

    def reset(self, *, seed=None, options=None):
        number = self.num_envs
        return super().reset(seed=[seed[0]] * number, options=options)


def test_rows_that_depend_on_each_other_break_a_law():
    laws = check_scenario(together(3, make=Shared))
    (law,) = (law for law in laws if law.law == SEEDED)
    assert law.passed is False and "in a second instance" in law.note


def test_rows_get_what_is_theirs_of_what_is_returned_beside():
    envs = SyncVectorEnv([lambda: Early(deployed=True)] * 2)
    rows = Rows(envs)
    rows.reset({1: 5})
    rows.step({1: 1})
    first = rows.rows[1].answer[-1]
    assert first == {"hurt": 0.0, "pressed": 0.0, "odd": {"step": 1}}
    rows.step({1: 2})
    assert rows.rows[1].answer[-1] == {"hurt": 1.0, "pressed": 1.0}
    assert isinstance(envs, VectorEnv)
