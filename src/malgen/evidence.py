"""What a deployment left behind: enough to compute every verdict again.

The world is certain, so actions and levels are enough to play the episodes again;
this file turns a deployment into arrays and back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from malgen.agents.weights_file import number_of, policy_at
from malgen.capability import Behavior, GoalValues, Legs
from malgen.deployment import (
    Baselines,
    LevelSet,
    Subject,
    TrainingSide,
    baselines,
    behavior_of,
    draw_levels,
    observe,
    outcomes_of,
    training_side,
)
from malgen.errors import ConfigError
from malgen.outcomes import Outcomes
from malgen.planning.bounds import EXACT
from malgen.progress import Progress
from malgen.rollout import replay
from malgen.streams import stream
from malgen.types import Deployment, Rollout
from malgen.worlds.keys_and_chests import Level

TRAINING_FIELDS = ("fraction", "intended", "random_intended")
LEVEL_FIELDS = ("walls", "start", "keys", "chests", "flagged", "owned", "held")
GATE_LEVELS = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Episodes of n policies on common levels, with all baselines.

    Attributes:
        levels: the level set with its X-reference.
        base: random episodes and attainable goal values.
        subjects: one per policy.
    """

    levels: LevelSet
    base: Baselines
    subjects: tuple[Subject, ...]

    def table(self, i: int) -> tuple[Outcomes, Behavior]:
        """The outcomes and the behavior of policy i, as the verdict takes them."""
        return tables(self.subjects[i], self.levels, self.base)


def tables(
    subject: Subject, levels: LevelSet, base: Baselines
) -> tuple[Outcomes, Behavior]:
    """One policy's outcomes and behavior, as the verdict takes them."""
    outcomes = outcomes_of(subject, levels, base)
    training = subject.training.behavior if subject.training else None
    return outcomes, behavior_of(subject.rollout, levels, base, training)


def gather(
    policies,
    deployment: Deployment,
    training: Deployment,
    *,
    seed: int,
    number: int,
    progress: Progress,
    stage: str = "deploy",
) -> Evidence:
    """Deploy policies stacked by seed on common levels.

    Args:
        policies: leaves [n, ...].
        deployment: where.
        training: the setting of the train gate.
        seed: of levels and of the policies' own randomness.
        number: levels.
        progress: where to report.
        stage: its name there.
    """
    n = number_of(policies)
    who = f"{n} {'policies' if n > 1 else 'policy'}"
    progress.update(stage, 0.0, f"{who}: drawing levels")
    levels = draw_levels(
        stream(seed, "levels"),
        deployment,
        number,
        lambda message: progress.update(stage, 0.05, f"{who}: {message}"),
    )
    levels.exact_reference()  # refuses before the long work
    base = baselines(
        stream(seed, "random"),
        levels,
        lambda message: progress.update(stage, 0.2, f"{who}: {message}"),
    )
    subjects = []
    for i in range(n):
        progress.update(stage, 0.4 + 0.6 * i / n, f"{who}: playing with number {i + 1}")
        policy = policy_at(policies, i)
        key_gate = stream(seed, "gate", i)
        side = training_side(key_gate, policy, training, GATE_LEVELS)
        subjects.append(observe(stream(seed, "play", i), policy, levels, base, side))
    progress.update(stage, 1.0, f"{who}: {number} levels of {levels.drawn} drawn")
    return Evidence(levels=levels, base=base, subjects=tuple(subjects))


def to_arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    """Everything needed to compute the verdicts again, as named arrays."""
    levels = evidence.levels
    arrays: dict[str, np.ndarray] = {
        f"level_{name}": np.asarray(getattr(levels.levels, name))
        for name in LEVEL_FIELDS
    }
    arrays["level_ids"] = np.array(levels.ids)
    arrays["drawn"] = np.array(levels.drawn)
    arrays["reference_actions"] = _actions(levels.exact_reference())
    arrays["random_actions"] = _actions(evidence.base.random)
    for name, values in evidence.base.goals.items():
        arrays[f"goal_{name}"] = values
    for name, values in evidence.base.lows.items():
        arrays[f"low_{name}"] = values
    for name, (intended, harm) in evidence.base.optimizers.items():
        arrays[f"optimizer_{name}"] = np.stack([intended, harm])
    if evidence.base.lows:
        arrays["attainable"] = np.array(evidence.base.method)
    for i, subject in enumerate(evidence.subjects):
        # policies that were trained have all of it
        assert subject.greedy and subject.degraded and subject.training
        arrays[f"actions_{i}"] = _actions(subject.rollout)
        arrays[f"greedy_actions_{i}"] = _actions(subject.greedy)
        for name in TRAINING_FIELDS:
            arrays[f"train_{name}_{i}"] = getattr(subject.training, name)
        if subject.training.behavior is not None:
            there = behavior_arrays(subject.training.behavior)
            arrays |= {f"there_{i}_{name}": array for name, array in there.items()}
        doses = subject.degraded
        arrays[f"degraded_share_{i}"] = np.array(list(doses))
        arrays[f"degraded_intended_{i}"] = np.array([x for x, _ in doses.values()])
        arrays[f"degraded_harm_{i}"] = np.array([h for _, h in doses.values()])
    return arrays


def from_arrays(arrays: dict[str, np.ndarray], deployment: Deployment) -> Evidence:
    """The evidence again; episodes are played again from their actions.

    Raises:
        ConfigError: arrays that are missing or do not fit together.
    """
    try:
        return _from_arrays(arrays, deployment)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"The rollouts are incomplete ({type(error).__name__}: {error}); run "
            "'malgen deploy' again."
        ) from None


def _from_arrays(arrays, deployment):
    level = Level(*(jnp.asarray(arrays[f"level_{name}"]) for name in LEVEL_FIELDS))

    def again(name: str) -> Rollout:
        return replay(stream(0), deployment.world, arrays[name], level)

    levels = LevelSet(
        deployment=deployment,
        levels=level,
        ids=tuple(str(i) for i in arrays["level_ids"]),
        reference=again("reference_actions"),
        drawn=int(arrays["drawn"]),
    )
    goals = {n.removeprefix("goal_"): a for n, a in arrays.items() if n[:5] == "goal_"}
    lows = {n.removeprefix("low_"): a for n, a in arrays.items() if n[:4] == "low_"}
    optimizers = {
        name.removeprefix("optimizer_"): (array[0], array[1])
        for name, array in arrays.items()
        if name.startswith("optimizer_")
    }
    count = sum(name.startswith("actions_") for name in arrays)
    return Evidence(
        levels=levels,
        base=Baselines(
            random=again("random_actions"),
            goals=goals,
            lows=lows,
            method=str(arrays.get("attainable", EXACT)),
            optimizers=optimizers,
        ),
        subjects=tuple(_subject(arrays, again, i) for i in range(count)),
    )


def _subject(
    arrays: dict[str, np.ndarray], again: Callable[[str], Rollout], i: int
) -> Subject:
    doses = zip(
        arrays[f"degraded_share_{i}"],
        arrays[f"degraded_intended_{i}"],
        arrays[f"degraded_harm_{i}"],
        strict=True,
    )
    return Subject(
        rollout=again(f"actions_{i}"),
        greedy=again(f"greedy_actions_{i}"),
        degraded={float(share): (x, h) for share, x, h in doses},
        training=TrainingSide(
            **{name: arrays[f"train_{name}_{i}"] for name in TRAINING_FIELDS},
            behavior=behavior_from(
                {
                    name.removeprefix(f"there_{i}_"): array
                    for name, array in arrays.items()
                    if name.startswith(f"there_{i}_")
                }
            ),
        ),
    )


LEGS = ("distance", "time")
VALUES = ("policy", "random", "oracle", "off", "oracle_low", "intended", "harm")


def behavior_arrays(behavior: Behavior) -> dict[str, np.ndarray]:
    """A behavior as named arrays."""
    assert behavior.legs and behavior.random_legs  # what deployments measure has them
    arrays = {"levels": np.array(behavior.levels)}
    for who, legs in (("legs", behavior.legs), ("random_legs", behavior.random_legs)):
        arrays |= {f"{who}.{name}": getattr(legs, name) for name in LEGS}
    for goal, values in behavior.goals.items():
        arrays |= {
            f"goal.{goal}.{name}": np.asarray(array)
            for name in VALUES
            if (array := getattr(values, name)) is not None
        }
    return arrays


def behavior_from(arrays: dict[str, np.ndarray]) -> Behavior | None:
    """The behavior again; None if there are no arrays of it."""
    if not arrays:
        return None
    goals: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name.startswith("goal."):
            _, goal, value = name.split(".")
            goals.setdefault(goal, {})[value] = array
    legs, random_legs = (
        Legs(**{name: arrays[f"{who}.{name}"] for name in LEGS})
        for who in ("legs", "random_legs")
    )
    return Behavior(
        legs=legs,
        random_legs=random_legs,
        goals={goal: GoalValues(**values) for goal, values in goals.items()},
        levels=tuple(map(str, arrays["levels"])),
    )


def _actions(rollout: Rollout) -> np.ndarray:
    return np.asarray(rollout.actions).astype(np.int8)
