"""One foreign environment under watch: its episodes as sums of features.

Everything that somebody else's code may do wrong is noticed here and told in one
sentence that names the setting, the episode's seed and the step.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from malgen.errors import (
    ContractError,
    ForeignError,
    MalgenError,
    described,
    first_line,
)
from malgen.foreign.scenario import Feature, ForeignScenario, Transition

INFO = "info."
SIDES = {"train": "training", "deploy": "deployment"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """What one episode came to.

    Attributes:
        row: Float[f], the sum of each feature, then the number of steps.
        actions: what was done, in order.
    """

    row: np.ndarray
    actions: tuple[Any, ...]


def features_of(scenario: ForeignScenario) -> dict[str, Feature]:
    """All numbers that are summed, by what messages call them; X comes first.

    Then come the harms and then the proxies, in their own order.
    """
    return {
        "The intended objective": scenario.intended,
        **{f"The harm {name!r}": f for name, f in scenario.harm.items()},
        **{f"The proxy {name!r}": p.feature for name, p in scenario.proxies.items()},
    }


def harm_weights(scenario: ForeignScenario) -> np.ndarray:
    """Float[h]: the weight of each harm."""
    return np.array([scenario.harm_weights.get(name, 1.0) for name in scenario.harm])


class Watched:
    """One environment, and the episode that it is in.

    Attributes:
        slot: its place among those that run together.
        seed: of the episode.
        step: steps done.
        observation: the last one.
        ended: whether the episode is over.
        rng: the episode's own randomness, for whoever acts in it.
        action_space: a copy that belongs to this slot.
    """

    def __init__(
        self, env: gymnasium.Env, scenario: ForeignScenario, side: str, slot: int
    ) -> None:
        self.env, self.scenario, self.side, self.slot = env, scenario, side, slot
        self.action_space = copy.deepcopy(env.action_space)
        self._problem_of = checker(env.observation_space)
        self._features = [
            (name, _reader(feature)) for name, feature in features_of(scenario).items()
        ]
        self._whole = any(callable(f) for f in features_of(scenario).values())
        self._weights = harm_weights(scenario)
        self._doing = "The environment"
        self.seed, self.step, self.ended = -1, 0, True
        self.observation: Any = None
        self.rng = np.random.default_rng(0)
        self._sums: list[float] = []
        self._actions: list[Any] = []

    def where(self) -> str:
        """Which episode this is, for messages."""
        return (
            f"{SIDES[self.side]} of {self.scenario.name!r}, episode with seed "
            f"{self.seed}, step {self.step}"
        )

    def who(self) -> str:
        """Whose code is running; starts a sentence."""
        return f"{self._doing} ({self.where()})"

    def begin(self, seed: int, rng: np.random.Generator) -> None:
        """Start the episode of that seed.

        Raises:
            ForeignError: the environment raised.
            ContractError: it returned something else than (observation, info).
        """
        self.seed, self.rng = seed, rng
        self.step, self.ended = 0, False
        self._sums = [0.0] * len(self._features)
        self._actions = []
        self._doing = "The environment"
        try:
            found = self.env.reset(seed=seed)
        except (Exception, SystemExit) as error:
            raise self._raised(error, "in reset") from error
        try:
            self.observation, _ = found
        except (TypeError, ValueError):
            raise ContractError(
                f"{self.who()} returned from reset {described(found)}; return "
                "(observation, info)."
            ) from None
        self._check_observation()

    def act(self, action: Any) -> None:
        """Do one step and add its features.

        Raises:
            ForeignError: the environment or a feature raised.
            ContractError: one of them returned what it must not.
        """
        self._doing = "The environment"
        before = self.observation
        if self._whole:
            # environments may write the next observation into the same array
            is_array = isinstance(before, np.ndarray)
            before = before.copy() if is_array else copy.deepcopy(before)
        try:
            found = self.env.step(own(action))
        except (Exception, SystemExit) as error:
            raise self._raised(error, f"for the action {described(action)}") from error
        try:
            self.observation, reward, terminated, truncated, info = found
        except (TypeError, ValueError):
            raise ContractError(
                f"{self.who()} returned from step {described(found)}; return "
                "(observation, reward, terminated, truncated, info)."
            ) from None
        reward = self._number(reward, "returned the reward")
        self._check_observation()
        try:
            terminated, truncated = bool(terminated), bool(truncated)
        except Exception:
            raise ContractError(
                f"{self.who()} returned terminated {described(terminated)} and "
                f"truncated {described(truncated)}; return one bool for each."
            ) from None
        truncated = truncated or self.step + 1 >= self.scenario.horizon
        transition = info
        if self._whole:
            transition = Transition(
                observation=before,
                action=action,
                reward=reward,
                next_observation=self.observation,
                info=info,
                terminated=terminated,
                truncated=truncated,
                step=self.step,
            )
        for i, (name, read) in enumerate(self._features):
            self._doing = name
            self._sums[i] += self._feature(read, transition, reward, info)
        self._actions.append(action)
        self.step += 1
        if terminated or truncated:
            self._check_bounds()
            self.ended = True

    def episode(self) -> Episode:
        """What the episode came to, once it has ended."""
        return Episode(
            row=np.array([*self._sums, float(self.step)]), actions=tuple(self._actions)
        )

    def _feature(self, read: Any, transition: Any, reward: float, info: Any) -> float:
        kind, what = read
        if kind == "reward":
            return reward
        if kind == "info":
            try:
                value = info[what]
            except (KeyError, TypeError, IndexError):
                keys = (
                    ", ".join(map(str, info))
                    if isinstance(info, Mapping)
                    else "nothing"
                )
                raise ContractError(
                    f"{self.who()} is 'info.{what}', but the environment's info has no "
                    f"{what!r} (it has {keys or 'nothing'}); return it in every step."
                ) from None
        else:
            try:
                value = what(transition)
            except (Exception, SystemExit) as error:
                raise self._raised(error) from error
        if value.__class__ is float and math.isfinite(value):
            return value
        return self._number(value, "is")

    def _number(self, value: Any, what: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ContractError(
                f"{self.who()} {what} {described(value)}; it must be a finite number."
            )
        return number

    def refuse_nan(self) -> None:
        """Whose observation has NaN in it.

        Raises:
            ContractError: always.
        """
        self._doing = "The environment"
        raise ContractError(f"{self.who()} returned an observation with NaN in it.")

    def _check_observation(self) -> None:
        problem = self._problem_of(self.observation)
        if problem:
            raise ContractError(f"{self.who()} returned an observation {problem}.")

    def _check_bounds(self) -> None:
        """Whether X and harm of the whole episode are what the scenario promises."""
        scenario, harms = self.scenario, self._sums[1 : 1 + len(self._weights)]
        for name, value in zip(scenario.harm, harms, strict=True):
            if value < -1e-9:
                self._doing = f"The harm {name!r}"
                raise ContractError(
                    f"{self.who()} sums to {value:g}; harm is never negative: count "
                    "what is good in the intended objective."
                )
            if value > 1e-9 and self.side == "train":
                self._doing = f"The harm {name!r}"
                raise ContractError(
                    f"{self.who()} sums to {value:g}, but harm must be impossible in "
                    "training, or the training reward itself would be at fault and "
                    "not generalization; define it so that it is zero there."
                )
        sums = {"intended": self._sums[0], "harm": float(self._weights @ harms)}
        for kind, value in sums.items():
            low, high = getattr(scenario, f"{kind}_bounds")
            if not low - 1e-9 <= value <= high + 1e-9:
                self._doing = (
                    "The intended objective" if kind == "intended" else "The harm"
                )
                raise ContractError(
                    f"{self.who()} sums to {value:g}, outside {kind}_bounds "
                    f"({low:g}, {high:g}); correct the bounds or the feature."
                )

    def _raised(self, error: BaseException, when: str = "") -> MalgenError:
        when = f" {when}" if when else ""
        return ForeignError(
            f"{self.who()} raised {type(error).__name__}{when}: {first_line(error)}."
        )


def own(action: Any) -> Any:
    """The action, or a copy that an environment may write into."""
    if isinstance(action, np.generic | int | float):
        return action
    return copy.deepcopy(action)


def _reader(feature: Feature) -> tuple[str, Any]:
    """How a feature is read: its kind, and the key or function."""
    if not isinstance(feature, str):
        return "function", feature
    return ("reward", "") if feature == "reward" else ("info", feature[len(INFO) :])


def checker(space: spaces.Space) -> Callable[[Any], str]:
    """A function that says what is wrong with an observation, "" if nothing.

    Values are not held against the ends of a box: many environments go a little
    beyond them. NaN is looked for where observations are stacked for a policy.
    """
    if isinstance(space, spaces.Box):
        shape, dtype = space.shape, space.dtype

        def box(observation: Any) -> str:
            try:
                array = np.asarray(observation)
            except Exception:
                return f"{described(observation)}, which is no array of shape {shape}"
            if array.shape != shape:
                return (
                    f"of shape {array.shape}, but its observation space has {shape}; "
                    "it must not change"
                )
            if array.dtype == dtype or np.can_cast(array.dtype, dtype, "same_kind"):
                return ""
            return (
                f"of type {array.dtype}, but its observation space has {dtype}; they "
                "must agree"
            )

        return box
    if isinstance(space, spaces.Dict):
        parts = {name: checker(part) for name, part in space.items()}

        def dictionary(observation: Any) -> str:
            if not isinstance(observation, Mapping) or set(observation) != set(parts):
                return (
                    f"{described(observation)}, not a dictionary of {', '.join(parts)}"
                )
            found = ((name, parts[name](observation[name])) for name in parts)
            return next(
                (f"{what} (under {name!r})" for name, what in found if what), ""
            )

        return dictionary

    def other(observation: Any) -> str:
        try:
            if space.contains(observation):
                return ""
        except Exception:  # what it cannot look at is not in it
            pass
        return f"{described(observation)} that is not in its observation space {space}"

    return other
