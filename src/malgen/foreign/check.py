"""Does a scenario keep its laws? Found out on a few episodes, before anything is run.

Nothing here needs a policy: random actions, switched off and, where there is one, the
reference act in both settings, on the first seeds of each.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from malgen.adapters.actor import Actor
from malgen.adapters.actors import as_actor
from malgen.adapters.time_limit import SECONDS
from malgen.errors import ConfigError, ContractError, ForeignError, MalgenError
from malgen.foreign.loading import validate
from malgen.foreign.players import member
from malgen.foreign.scenario import Constant, ForeignScenario
from malgen.foreign.side import close, make
from malgen.foreign.trial import (
    INTENDED,
    Choose,
    Failed,
    Problem,
    Trial,
    harm_name,
    play,
)
from malgen.foreign.vector import OneRow, stack
from malgen.foreign.watched import harm_weights
from malgen.laws import Law

SEEDS = 4
"""How many levels of each setting are tried."""

SIDES = {"training": "train", "deployment": "deploy"}
RANDOM, OFF, REFERENCE = "random actions", "switched off", "the reference"

FIELDS = "E1 the scenario's fields are usable"
MADE = "E2 both environments can be made"
SPACES = "E3 training and deployment have the same spaces"
ACTING = "E4 reset and step answer as Gymnasium asks"
READING = "E5 intended, harms and proxies are finite numbers"
SEEDED = "E6 the same seed and actions give the same episode"
TRAIN_NULL = "E7 harm is zero in training"
BOUNDED = "E8 intended and harm respect their bounds"
CAN_BE_OFF = "E9 it can be switched off"
REFERRED = "E10 the reference acts"
INSIDE = "E11 observations are members of their space"
DIFFERENT = "E12 different seeds make different episodes"
ENDING = "E13 episodes end by themselves"
BETTER = "E14 the reference is better than random actions"
LAWS = (
    FIELDS,
    MADE,
    SPACES,
    ACTING,
    READING,
    SEEDED,
    TRAIN_NULL,
    BOUNDED,
    CAN_BE_OFF,
    REFERRED,
    INSIDE,
    DIFFERENT,
    ENDING,
    BETTER,
)
SOFT = (INSIDE, DIFFERENT, ENDING, BETTER)
"""Laws that a scenario may break on purpose."""

SLACK = 1e-9


def check_scenario(
    scenario: ForeignScenario, *, seed: int = 0, seconds: float = SECONDS
) -> tuple[Law, ...]:
    """Try a scenario on a few episodes.

    Args:
        scenario: what the user says about an environment.
        seed: of the random actions.
        seconds: how long one call of foreign code may take, > 0.

    Returns:
        One entry per law, in the order of ``LAWS``; those that could not be checked
        because an earlier one is broken have no law and say so.
    """
    check = _Check(scenario, seed, seconds)
    try:
        check.run()
    finally:
        check.close()
    thing = f"scenario {scenario.name}"
    laws = []
    for law in LAWS:
        problems = check.problems.get(law)
        if law in check.skipped:
            note = f"{law.split()[0]} not checked: {check.skipped[law]}"
            laws.append(Law(thing=thing, law="", passed=None, note=note))
        elif problems:
            first, more = problems[0], len(problems) - 1
            note = (
                first.note
                + "." * (not first.note.endswith("?"))
                + (f" ({more} more like this)" if more else "")
            )
            raised = any(problem.raised for problem in problems)
            passed = None if law in SOFT else False
            laws.append(
                Law(thing=thing, law=law, passed=passed, note=note, raised=raised)
            )
        else:
            laws.append(Law(thing=thing, law=law, passed=True))
    return tuple(laws)


@dataclass
class _Check:
    """What is known about a scenario so far."""

    scenario: ForeignScenario
    seed: int
    seconds: float
    envs: dict[str, gymnasium.Env] = field(default_factory=dict)
    made: list[gymnasium.Env | VectorEnv] = field(default_factory=list)
    trials: dict[tuple[str, str], list[Trial]] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Go through the laws; each needs what comes before it."""
        try:
            validate(self.scenario)
        except ConfigError as error:
            self.found(FIELDS, str(error).rstrip("."))
            self.skip(LAWS[1:], because="E1 does not hold")
            return
        for side in SIDES:
            try:
                self.envs[side] = self.make(side)
            except Failed as failed:
                self.found(MADE, failed.problem)
        if MADE in self.problems:
            self.skip(LAWS[2:], because="E2 does not hold")
            return
        self.spaces()
        for side in SIDES:
            self.play_all(side, RANDOM, self.random(side))
        if ACTING in self.problems:
            self.skip(LAWS[4:], because="E4 does not hold")
            return
        self.seeded()
        self.different()
        self.off()
        self.reference()
        self.features()
        self.train_null()
        self.bounded()
        self.ending()
        self.better()
        if READING in self.problems:
            # what was no number was left out of these
            unsure = [law for law in (TRAIN_NULL, BOUNDED) if law not in self.problems]
            self.skip(unsure, because="E5 does not hold")

    def found(self, law: str, problem: Problem | str) -> None:
        """Note something that is wrong."""
        if isinstance(problem, str):
            problem = Problem(note=problem)
        self.problems.setdefault(law, []).append(problem)

    def skip(self, laws: Iterable[str], *more: str, because: str) -> None:
        """Say why laws are not checked."""
        self.skipped |= {law: because for law in (*laws, *more)}

    def close(self) -> None:
        """Close what was made; what that raises is nobody's concern."""
        for env in self.made:
            close(env, self.seconds)

    # --- what can be seen without an episode -------------------------------------

    def make(self, side: str, place: int = 0) -> gymnasium.Env:
        """A new instance of one setting.

        Args:
            side: the setting.
            place: which row stands for all, if it is a vector environment.

        Raises:
            Failed: it cannot be made.
        """
        try:
            made = make(self.scenario, SIDES[side], self.seconds, self.made)
        except MalgenError as error:
            raised = isinstance(error, ForeignError)
            note = f"{str(error).rstrip('.')}; correct {SIDES[side]}="
            raise Failed(Problem(note=note, raised=raised)) from error
        self.made.append(made)
        return OneRow(made, place) if isinstance(made, VectorEnv) else made

    def spaces(self) -> None:
        """The policy must be able to act in both."""
        train, deploy = (self.envs[side] for side in SIDES)
        for name in ("observation_space", "action_space"):
            mine, other = getattr(train, name), getattr(deploy, name)
            if mine != other:
                self.found(
                    SPACES,
                    f"{name} is {mine} in training and {other} in deployment; one "
                    "policy acts in both, so make them equal (pad or crop)",
                )

    # --- episodes ----------------------------------------------------------------

    def seeds(self, side: str) -> list[int]:
        """The first seeds of a setting."""
        scenario = self.scenario
        first = scenario.first_deploy_seed
        if side == "training":
            first = scenario.first_train_seed
        return [first + i for i in range(SEEDS)]

    def random(self, side: str) -> Callable[[int], Choose]:
        """Random actions, other ones for each level."""
        space = deepcopy(self.envs[side].action_space)

        def begin(index: int) -> Choose:
            space.seed(self.seed + index)
            return lambda observation, step: space.sample()

        return begin

    def play_all(self, side: str, who: str, begin: Callable[[int], Choose]) -> None:
        """One episode on each seed."""
        trials = self.trials.setdefault((side, who), [])
        for index, seed in enumerate(self.seeds(side)):
            trial = Trial(side=side, who=who, seed=seed)
            play(self.envs[side], self.scenario, trial, begin(index), self.seconds)
            trials.append(trial)
            if trial.acting:
                self.found(ACTING, trial.acting)
            if trial.strange:
                self.found(
                    INSIDE, f"{trial.strange}; correct its bounds or type. Intended?"
                )

    def again(self, env: gymnasium.Env, trial: Trial, seed: int) -> Trial:
        """The actions of a trial once more, as far as they go."""
        actions = list(trial.actions)
        copy = Trial(side=trial.side, who=trial.who, seed=seed)

        def choose(observation: Any, step: int) -> Any:
            if step >= len(actions):
                raise _NoMore
            return actions[step]

        with contextlib.suppress(_NoMore):
            play(env, self.scenario, copy, choose, self.seconds)
        return copy

    def whole(self) -> list[Trial]:
        """All episodes that nothing stopped."""
        return [
            trial
            for trials in self.trials.values()
            for trial in trials
            if trial.is_whole
        ]

    def harm(self, trial: Trial) -> float:
        """Weighted harm of an episode."""
        sums = [trial.total(harm_name(name)) for name in self.scenario.harm]
        return float(harm_weights(self.scenario) @ sums)

    def utility(self, trial: Trial) -> float:
        """What an episode is worth at the scenario's price."""
        return trial.total(INTENDED) - self.scenario.price * self.harm(trial)

    # --- laws about episodes -----------------------------------------------------

    def seeded(self) -> None:
        """The same again, in the same instance and in another one."""
        for side in SIDES:
            try:
                # the last of several: what an episode is must not depend on its place
                other = self.make(side, -1)
            except Failed as failed:
                self.found(MADE, failed.problem)
                continue
            instances = (
                ("a second time in the same instance", self.envs[side]),
                ("in a second instance", other),
            )
            for trial in self.trials[side, RANDOM][: SEEDS // 2]:
                for how, env in instances:
                    copy = self.again(env, trial, trial.seed)
                    difference = _difference(trial, copy)
                    if difference:
                        self.found(
                            SEEDED,
                            f"{trial} was played {how} with the same actions, and "
                            f"{difference}; draw everything random from "
                            "self.np_random, which reset(seed=...) seeds",
                        )

    def different(self) -> None:
        """Seeds are the levels; when all are one, numbers of levels mean nothing."""
        for side in SIDES:
            first, *others = self.trials[side, RANDOM]
            copies = [self.again(self.envs[side], first, t.seed) for t in others]
            if not any(_difference(first, copy) for copy in copies):
                self.found(
                    DIFFERENT,
                    f"all {SEEDS} {side} seeds from {first.seed} on make the same "
                    "episode under the same actions, so more levels tell nothing more; "
                    "let reset(seed=...) draw the level. Intended?",
                )

    def off(self) -> None:
        """A no-op is an action, a function acts; a constant needs nothing."""
        off, space = self.scenario.off, self.envs["deployment"].action_space
        if isinstance(off, Constant):
            return
        if callable(off):
            self.acts(OFF, off, CAN_BE_OFF)
            return
        action = member(space, off)
        if action is None:
            self.found(
                CAN_BE_OFF,
                f"off is {off!r}, which is no action of {space}; give a no-op action, "
                "a Constant if there is none, or a function from observation to action",
            )
            return
        for side in SIDES:
            self.play_all(side, OFF, lambda _: lambda observation, step: action)

    def reference(self) -> None:
        """It acts in both settings."""
        reference = self.scenario.reference
        if reference is None:
            because = "there is no reference, so there is no malign window"
            self.skip((REFERRED, BETTER), because=because)
            return
        self.acts(REFERENCE, reference, REFERRED)

    def acts(self, who: str, policy: Any, law: str) -> None:
        """Let a policy play; what it does wrong breaks the law."""
        for side in SIDES:
            env = self.envs[side]
            try:
                actor = as_actor(
                    policy,
                    env.observation_space,
                    env.action_space,
                    name=who,
                    seconds=self.seconds,
                )
                begin = _acting(actor, env, self.seed, self.seeds(side), side)
                self.play_all(side, who, begin)
            except MalgenError as error:
                raised = isinstance(error, ForeignError)
                self.found(law, Problem(note=str(error).rstrip("."), raised=raised))
                return

    def features(self) -> None:
        """Each feature that was no number somewhere is named once."""
        seen: dict[str, Problem] = {}
        for trial in self.whole():
            for name, problem in trial.reading.items():
                seen.setdefault(name, problem)
        for problem in seen.values():
            self.found(READING, problem)

    def train_null(self) -> None:
        """What the training reward allowed would be its fault, not generalization's."""
        for trial in self.whole():
            if trial.side != "training":
                continue
            for name in map(harm_name, self.scenario.harm):
                value = trial.total(name)
                if value > SLACK and name not in trial.reading:
                    first = int(np.flatnonzero(trial.values[name])[0])
                    self.found(
                        TRAIN_NULL,
                        f"{name} sums to {value:g} in {trial}, first in step {first}; "
                        "harm is what training could not teach, so choose a feature "
                        "that cannot occur there, or let X pay for it",
                    )

    def bounded(self) -> None:
        """Sums over whole episodes."""
        for trial in self.whole():
            harms = {harm_name(name) for name in self.scenario.harm}
            sums = {}
            if INTENDED not in trial.reading:
                sums["intended"] = trial.total(INTENDED)
            if not harms & set(trial.reading):
                sums["harm"] = self.harm(trial)
            for name in harms - set(trial.reading):
                if trial.total(name) < -SLACK:
                    self.found(
                        BOUNDED,
                        f"{name} sums to {trial.total(name):g} in {trial}; harm is "
                        "never negative: let X count what is good",
                    )
            for name, value in sums.items():
                low, high = getattr(self.scenario, f"{name}_bounds")
                if not low - SLACK <= value <= high + SLACK:
                    self.found(
                        BOUNDED,
                        f"{name} sums to {value:g} in {trial}, outside {name}_bounds "
                        f"({low:g}, {high:g}); widen them to what any policy can reach",
                    )

    def ending(self) -> None:
        """The environment ends some episode, or says when it would."""
        for side in SIDES:
            trials = [trial for trial in self.whole() if trial.side == side]
            declared = getattr(self.envs[side].spec, "max_episode_steps", None)
            if declared or any(t.terminated or t.truncated for t in trials):
                continue
            actors = ", ".join(dict.fromkeys(trial.who for trial in trials))
            self.found(
                ENDING,
                f"none of {len(trials)} {side} episodes ({actors}) ended before the "
                f"horizon of {self.scenario.horizon} steps; let the environment "
                "terminate when all is done. Intended?",
            )

    def better(self) -> None:
        """In X where it was trained, and in utility where it is deployed."""
        if BETTER in self.skipped:
            return
        for law in (READING, REFERRED):
            if law in self.problems:
                self.skip((BETTER,), because=f"{law.split()[0]} does not hold")
                return
        for side in SIDES:
            trials = [self.trials[side, who] for who in (REFERENCE, RANDOM)]
            if not all(trial.is_whole for some in trials for trial in some):
                self.skip((BETTER,), because="E4 does not hold")
                return
            mine, random = (float(np.mean([*map(self.utility, t)])) for t in trials)
            if mine < random - SLACK:
                self.found(
                    BETTER,
                    f"on {SEEDS} {side} levels the reference is worth {mine:g} and "
                    f"random actions {random:g}; give a reference that pursues X. "
                    "Intended?",
                )


class _NoMore(Exception):
    """A repeated episode went on for longer than the first."""


def _acting(
    actor: Actor, env: gymnasium.Env, seed: int, levels: list[int], side: str
) -> Callable[[int], Choose]:
    """A policy, asked step by step with the memory of its episode.

    What it does wrong is raised as it was told, with the episode added: it is nothing
    that its environment did.
    """

    def begin(index: int) -> Choose:
        rng = np.random.default_rng((seed, index))
        memory = actor.begin(1)

        def choose(observation: Any, step: int) -> Any:
            nonlocal memory
            stacked = stack(env.observation_space, [observation])
            at = f"step {step} of the {side} episode with seed {levels[index]}"
            try:
                choices, memory = actor.act(stacked, memory, np.array([step == 0]), rng)
            except MalgenError as error:
                raise type(error)(f"{str(error).rstrip('.')} ({at}).") from error
            action = member(env.action_space, choices.actions[0])
            if action is None:
                raise ContractError(
                    f"The policy {actor.name!r} returned {choices.actions[0]}, which "
                    f"is no action of {env.action_space} ({at})."
                )
            return action

        return choose

    return begin


def _difference(one: Trial, other: Trial) -> str:
    """Where two episodes part; "" if they do not."""
    if other.acting is not None:
        return f"now {other.acting.note}"
    pairs = zip(one.observations, other.observations, strict=False)
    for step, (mine, its) in enumerate(pairs):
        if not _same(mine, its):
            when = "after reset" if step == 0 else f"after step {step - 1}"
            return f"the observation {when} differs"
    for step, (mine, its) in enumerate(zip(one.rewards, other.rewards, strict=False)):
        if not _same(mine, its):
            return f"the reward in step {step} differs ({mine} and {its})"
    for name, values in one.values.items():
        for step, (mine, its) in enumerate(
            zip(values, other.values[name], strict=False)
        ):
            if mine != its:
                return f"{name} in step {step} differs ({mine:g} and {its:g})"
    ends = [(len(t.actions), t.terminated, t.truncated) for t in (one, other)]
    if ends[0] != ends[1]:
        return f"it ended otherwise ({ends[0][0]} and {ends[1][0]} steps)"
    return ""


def _same(one: Any, other: Any) -> bool:
    """Equal in structure and to the last bit; NaN equals NaN."""
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and one.keys() == other.keys()
            and all(_same(one[key], other[key]) for key in one)
        )
    if isinstance(one, tuple | list):
        return (
            isinstance(other, tuple | list)
            and len(one) == len(other)
            and all(map(_same, one, other))
        )
    try:
        mine, its = np.asarray(one), np.asarray(other)
        return np.array_equal(mine, its, equal_nan=mine.dtype.kind == "f")
    except (TypeError, ValueError):
        return bool(one == other)
