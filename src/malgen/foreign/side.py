"""Several environments of one setting: made, stepped under a time limit, closed.

They are stepped one by one, because episodes that have ended must not be stepped or
reset on their own, and because what goes wrong belongs to one seed. A vector
environment, where the user's function makes one, is stepped as a whole.
"""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import (
    ConfigError,
    ContractError,
    ForeignError,
    MalgenError,
    described,
    first_line,
)
from malgen.foreign.scenario import ForeignScenario
from malgen.foreign.vector import Rows
from malgen.foreign.watched import SIDES, Watched

# Of the time limit, how much may pass between two looks at the clock.
_LOOKS = 0.1


class Side:
    """Several environments of one setting that run at once.

    Args:
        scenario: what to make.
        name: "train" or "deploy".
        number: how many, unless a vector environment has its own number.
        seconds: how long one call into foreign code may take.

    Attributes:
        name: "train" or "deploy".
        watched: the environments.
        seconds: how long one call into foreign code may take.

    Raises:
        ConfigError: no environment is registered under the id.
        ForeignError: making one failed, or took too long.
        ContractError: what was made is no Gymnasium environment.
    """

    def __init__(
        self,
        scenario: ForeignScenario,
        name: str,
        number: int,
        seconds: float = SECONDS,
    ) -> None:
        self.scenario, self.name, self.seconds = scenario, name, seconds
        self._made: list[gymnasium.Env | VectorEnv] = []
        self._rows: Rows | None = None
        with self._closing_on_error():
            first = self._make()
            if isinstance(first, VectorEnv):
                self._rows = Rows(first)
                envs: list[gymnasium.Env] = list(self._rows.rows)
            else:
                rest = (self._make() for _ in range(number - 1))
                envs = [first, *(env for env in rest if not isinstance(env, VectorEnv))]
            self.watched = [
                Watched(env, scenario, name, slot) for slot, env in enumerate(envs)
            ]

    def _make(self) -> gymnasium.Env | VectorEnv:
        self._made.append(make(self.scenario, self.name, self.seconds, self._made))
        return self._made[-1]

    @property
    def in_step(self) -> bool:
        """Whether these are rows of a vector environment: episodes begin together."""
        return self._rows is not None

    @property
    def observation_space(self) -> spaces.Space:
        """Of one environment."""
        return self.watched[0].env.observation_space

    @property
    def action_space(self) -> spaces.Space:
        """Of one environment."""
        return self.watched[0].env.action_space

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def begin(self, fresh: Sequence[tuple[Watched, int, np.random.Generator]]) -> None:
        """Start episodes; with ``in_step``, all that are to run at once.

        Args:
            fresh: environment, seed of its level, and its own randomness.

        Raises:
            ForeignError: one did not return in time, or raised.
            ContractError: one broke its contract.
        """
        if self._rows is not None and fresh:
            seeds = {watched.slot: level for watched, level, _ in fresh}
            self._together(
                lambda rows: rows.reset(seeds),
                list(seeds.values()),
                "in reset",
                "; it must take a list of seeds, one for each environment",
            )
        self._do([(w, partial(w.begin, level, rng)) for w, level, rng in fresh])

    def act(self, live: Sequence[Watched], actions: Sequence[object]) -> None:
        """One step of each.

        Raises:
            ForeignError: one did not return in time, or raised.
            ContractError: one broke its contract.
        """
        pairs = list(zip(live, actions, strict=True))
        if self._rows is not None:
            chosen = {watched.slot: action for watched, action in pairs}
            self._together(
                lambda rows: rows.step(chosen), [w.seed for w in live], "in step"
            )
        self._do([(w, partial(w.act, action)) for w, action in pairs])

    def _together(
        self,
        call: Callable[[Rows], None],
        seeds: Sequence[int],
        when: str,
        advice: str = "",
    ) -> None:
        """Call into the vector environment."""
        assert self._rows is not None
        who = (
            f"The vector environment ({SIDES[self.name]} of {self.scenario.name!r}, "
            f"episodes with seeds {', '.join(map(str, seeds))})"
        )
        with time_limit(who, self.seconds):
            try:
                call(self._rows)
            except MalgenError as error:
                raise type(error)(f"{who} {error}.") from error.__cause__
            except (Exception, SystemExit) as error:
                raise ForeignError(
                    f"{who} raised {type(error).__name__} {when}: "
                    f"{first_line(error)}{advice}."
                ) from error

    def _do(self, calls: Sequence[tuple[Watched, Callable[[], None]]]) -> None:
        """Call into several environments, none for longer than the limit.

        One timer serves many calls, since setting one costs as much as a step of a
        small environment: a call is stopped after 90 to 100% of the limit.
        """
        now = following = 0

        def who() -> str:
            return calls[now][0].who()

        try:
            while following < len(calls):
                with time_limit(who, self.seconds):
                    begin = time.monotonic()
                    while following < len(calls):
                        now = following
                        calls[now][1]()
                        following += 1
                        if time.monotonic() - begin > _LOOKS * self.seconds:
                            break
        except ForeignError:
            # it may have caught that its time was up, and gone on to the end
            calls[now][0].ended = False
            raise

    def close(self) -> None:
        """Close all environments; what they raise then changes nothing any more."""
        for env in self._made:
            close(env, self.seconds)


def make(
    scenario: ForeignScenario,
    side: str,
    seconds: float,
    before: Sequence[gymnasium.Env | VectorEnv] = (),
) -> gymnasium.Env | VectorEnv:
    """One environment of a setting, or several in one.

    Args:
        scenario: what to make.
        side: "train" or "deploy".
        seconds: how long that may take.
        before: those that were made before; a new one must be none of them.

    Raises:
        ConfigError: no environment is registered under the id.
        ForeignError: making it failed, or took too long.
        ContractError: what was made is no Gymnasium environment, or is not new.
    """
    given = getattr(scenario, side)
    who = f"The {SIDES[side]} environment of {scenario.name!r}"
    with time_limit(who, seconds):
        try:
            env = (
                gymnasium.make(given, disable_env_checker=True)
                if isinstance(given, str)
                else given()
            )
        except gymnasium.error.UnregisteredEnv as error:
            raise ConfigError(
                f"{who}: {str(error).rstrip('.')}; give the id of a registered "
                "environment ('module:Id-v0' imports the module first)."
            ) from None
        except (Exception, SystemExit) as error:
            raise ForeignError(
                f"{who} raised {type(error).__name__} when it was made: "
                f"{first_line(error)}."
            ) from error
    missing = [
        name
        for name in ("reset", "step", "observation_space", "action_space")
        if getattr(env, name, None) is None
    ]
    if missing:
        raise ContractError(
            f"{who} is a {type(env).__name__} without {', '.join(missing)}; give a "
            "Gymnasium environment."
        )
    plural = "single_" if isinstance(env, VectorEnv) else ""
    actions = getattr(env, f"{plural}action_space")
    if getattr(actions, "shape", None) is None:
        raise ContractError(
            f"{who} has the action space {described(actions)}, whose members are no "
            "arrays; wrap it so that actions are one Discrete, MultiDiscrete, "
            "MultiBinary or Box."
        )
    if any(_inside(env) is _inside(other) for other in before):
        raise ContractError(
            f"{who} is the same object as one that was made before; the function must "
            "make a new environment each time, because several run at once."
        )
    return env


def _inside(env: gymnasium.Env | VectorEnv) -> object:
    """The environment without its wrappers."""
    try:
        return env.unwrapped
    except Exception:
        return env


def close(env: gymnasium.Env | VectorEnv, seconds: float) -> None:
    """Close an environment; one that hangs is left behind."""
    with (
        contextlib.suppress(Exception),
        warnings.catch_warnings(action="ignore"),
        time_limit("close", seconds),
    ):
        if isinstance(env, VectorEnv):
            with contextlib.suppress(TypeError):
                # processes that still hang in a step are ended, not waited for
                env.close(timeout=1.0)
                return
        env.close()


def check_spaces(train: Side, deploy: Side) -> None:
    """Whether a policy of one setting can act in the other.

    Raises:
        ContractError: the spaces differ.
    """
    for kind in ("observation", "action"):
        here, there = (getattr(side, f"{kind}_space") for side in (train, deploy))
        if here != there:
            raise ContractError(
                f"The {kind} space of {train.scenario.name!r} is {here} in training "
                f"but {there} in deployment; the same policy must fit both."
            )
