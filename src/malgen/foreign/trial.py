"""One episode of a foreign environment with everything written down, for the check.

Unlike an audit, a trial goes on where it can after something went wrong, so that one
check finds more than one mistake.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from malgen.adapters.time_limit import time_limit
from malgen.errors import ForeignError, described, first_line
from malgen.foreign.players import has_nan
from malgen.foreign.scenario import Feature, ForeignScenario, Transition
from malgen.foreign.watched import INFO, checker, own

INTENDED = "intended"

Choose = Callable[[Any, int], Any]
"""An action for an observation in a step."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that went wrong.

    Attributes:
        note: one sentence without full stop: who, when, and what to do.
        raised: whether the user's code raised, or did not answer.
    """

    note: str
    raised: bool = False


class Failed(Exception):
    """Carries a ``Problem`` with an environment or a feature out of a call."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.note)
        self.problem = problem


@dataclass(kw_only=True, eq=False)
class Trial:
    """One episode as it went.

    Attributes:
        side: "training" or "deployment".
        who: who chose, e.g. "random actions".
        seed: of the level.
        observations: one more than actions.
        actions: in order.
        rewards: as the environment paid them.
        terminated: whether the last step ended it for good.
        truncated: whether the environment cut it off.
        values: feature -> its number in each step; 0 where it had none.
        acting: what is wrong with reset or step; the episode stops there.
        reading: feature -> what was first wrong with it.
        strange: an observation that is not in the space but has its shape.
    """

    side: str
    who: str
    seed: int
    observations: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    rewards: list[Any] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    values: dict[str, list[float]] = field(default_factory=dict)
    acting: Problem | None = None
    reading: dict[str, Problem] = field(default_factory=dict)
    strange: str = ""

    def __str__(self) -> str:
        return f"the {self.side} episode with seed {self.seed} ({self.who})"

    @property
    def is_whole(self) -> bool:
        """Whether nothing stopped it."""
        return self.acting is None

    def total(self, name: str) -> float:
        """Sum of a feature over the episode."""
        return float(np.sum(self.values[name]))


def features(scenario: ForeignScenario) -> dict[str, Feature]:
    """Everything that is read off a transition, by the name messages use."""
    named = {INTENDED: scenario.intended}
    named |= {harm_name(name): feature for name, feature in scenario.harm.items()}
    named |= {
        f"proxy {name!r}": proxy.feature for name, proxy in scenario.proxies.items()
    }
    if "reward" not in named.values():
        named["the reward"] = "reward"  # an audit refuses NaN there all the same
    return named


def harm_name(name: str) -> str:
    """How messages call a harm."""
    return f"harm {name!r}"


def guarded(who: str, seconds: float, call: Callable[[], Any], advice: str) -> Any:
    """What foreign code returns.

    Args:
        who: starts a sentence, e.g. "reset of the training environment with seed 3".
        seconds: how long it may take.
        call: the foreign code.
        advice: what to do, one clause.

    Raises:
        Failed: it raised, or did not answer in time.
    """
    try:
        with time_limit(who, seconds):
            return call()
    except ForeignError as error:
        note = f"{str(error).rstrip('.')}; {advice}"
        raise Failed(Problem(note=note, raised=True)) from error
    except (Exception, SystemExit) as error:
        note = f"{who} raised {type(error).__name__}: {first_line(error)}; {advice}"
        raise Failed(Problem(note=note, raised=True)) from error


def play(
    env: gymnasium.Env,
    scenario: ForeignScenario,
    trial: Trial,
    choose: Choose,
    seconds: float,
) -> Trial:
    """Fill in a trial.

    Args:
        env: the environment of the trial's side.
        scenario: what is read off the transitions, and the horizon.
        trial: side, who and seed.
        choose: who acts; what it raises passes through.
        seconds: how long one call of foreign code may take.

    Returns:
        The same trial.
    """
    named = features(scenario)
    trial.values = {name: [] for name in named}
    where = f"of the {trial.side} environment"
    try:
        observation = _reset(env, trial, where, seconds)
        trial.observations.append(observation)
        for step in range(scenario.horizon):
            action = choose(observation, step)
            at = f"step {step} {where} with seed {trial.seed} ({trial.who})"
            following, reward, terminated, truncated, info = _step(
                env, action, at, seconds
            )
            _look_at(env, trial, following, at)
            transition = Transition(
                observation=observation,
                action=action,
                reward=reward,
                next_observation=following,
                info=info,
                terminated=terminated,
                truncated=truncated or step + 1 == scenario.horizon,
                step=step,
            )
            for name, feature in named.items():
                try:
                    value = _read(name, feature, transition, at, seconds)
                except Failed as failed:
                    value = 0.0
                    trial.reading.setdefault(name, failed.problem)
                trial.values[name].append(value)
            trial.actions.append(action)
            trial.rewards.append(reward)
            trial.observations.append(following)
            observation = following
            if terminated or truncated:
                trial.terminated, trial.truncated = terminated, truncated
                break
    except Failed as failed:
        trial.acting = failed.problem
    return trial


def _reset(env: gymnasium.Env, trial: Trial, where: str, seconds: float) -> Any:
    who = f"reset {where} with seed {trial.seed}"
    given = guarded(
        who,
        seconds,
        lambda: env.reset(seed=trial.seed),
        "reset(seed=...) must work for any seed",
    )
    if not (isinstance(given, tuple) and len(given) == 2):
        raise Failed(
            Problem(
                note=f"{who} returned {_kind(given)}; return (observation, info), as "
                "Gymnasium asks"
            )
        )
    _look_at(env, trial, given[0], who)
    return _kept(given[0])


def _step(env: gymnasium.Env, action: Any, at: str, seconds: float) -> tuple:
    given = guarded(
        at,
        seconds,
        lambda: env.step(own(action)),
        "step must work for every action of the action space",
    )
    if not (isinstance(given, tuple) and len(given) == 5):
        raise Failed(
            Problem(
                note=f"{at} returned {_kind(given)}; return (observation, reward, "
                "terminated, truncated, info), as Gymnasium asks"
            )
        )
    observation, reward, terminated, truncated, info = given
    if not isinstance(info, Mapping):
        raise Failed(
            Problem(note=f"{at} returned {_kind(info)} as info; return a dict")
        )
    try:
        ends = bool(terminated), bool(truncated)
    except Exception:
        raise Failed(
            Problem(
                note=f"{at} returned terminated {described(terminated, 40)} and "
                f"truncated {described(truncated, 40)}; return one bool for each"
            )
        ) from None
    return _kept(observation), reward, *ends, dict(info)


def _look_at(env: gymnasium.Env, trial: Trial, observation: Any, at: str) -> None:
    """Whether an observation is what the space announces."""
    problem = checker(env.observation_space)(observation)
    if not problem and has_nan(observation):
        problem = "with NaN in it"
    if problem:
        raise Failed(
            Problem(
                note=f"{at} gave an observation {problem}; correct the environment or "
                "its observation_space"
            )
        )
    try:
        inside = env.observation_space.contains(observation)
    except Exception:
        inside = False
    if not inside and not trial.strange:
        trial.strange = f"{at} gave an observation that is no member of {_space(env)}"


def _space(env: gymnasium.Env) -> str:
    text = str(env.observation_space)
    return text if len(text) < 80 else type(env.observation_space).__name__


def _read(
    name: str, feature: Feature, transition: Transition, at: str, seconds: float
) -> float:
    """A feature's number for a transition.

    Raises:
        Failed: there is none.
    """
    if not isinstance(feature, str):
        value = guarded(
            f"{name} in {at}",
            seconds,
            lambda: feature(transition),
            "a feature takes a Transition and returns a number",
        )
    elif feature == "reward":
        value = transition.reward
    else:
        key = feature.removeprefix(INFO)
        if key not in transition.info:
            there = ", ".join(map(str, transition.info)) or "nothing"
            raise Failed(
                Problem(
                    note=f"{name} is {feature!r}, but info has no {key!r} in {at} (it "
                    f"has {there}); put the number there in every step, 0 included"
                )
            )
        value = transition.info[key]
    try:
        array = np.asarray(value)
        number = float(array.reshape(())) if array.dtype.kind in "biuf" else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise Failed(
            Problem(note=f"{name} is {_kind(value)} in {at}; it must be one number")
        )
    if not np.isfinite(number):
        raise Failed(
            Problem(note=f"{name} is {number} in {at}; it must be a finite number")
        )
    return number


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {described(value, 40)}"


def _kept(observation: Any) -> Any:
    """A copy, for environments that write every observation into the same array."""
    if isinstance(observation, np.ndarray):
        return observation.copy()
    if isinstance(observation, dict):
        return {key: _kept(value) for key, value in observation.items()}
    return observation
