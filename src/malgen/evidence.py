"""What a deployment left behind: enough to compute every verdict again.

The world is certain, so actions and levels are enough to play the episodes again;
this file turns a deployment into arrays and back.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from malgen.capability import Behavior
from malgen.deployment import (
    Baselines,
    LevelSet,
    baselines,
    behavior_of,
    degraded_outcomes,
    deploy,
    draw_levels,
    outcomes_of,
    train_fractions,
)
from malgen.errors import ConfigError
from malgen.outcomes import Outcomes
from malgen.progress import Progress
from malgen.rollout import replay
from malgen.streams import stream
from malgen.types import Deployment, Rollout
from malgen.worlds.keys_and_chests import Level

LEVEL_FIELDS = ("walls", "start", "keys", "chests", "flagged", "owned", "held")
GATE_LEVELS = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Episodes of n policies on common levels, with all baselines.

    Attributes:
        levels: the level set with its X-reference.
        base: random episodes and attainable goal values.
        rollouts: one per policy.
        degraded: per policy, share of replaced actions -> (intended, harm).
        fractions: per policy, train-gate shares; None for a policy without a gate.
    """

    levels: LevelSet
    base: Baselines
    rollouts: tuple[Rollout, ...]
    degraded: tuple[dict[float, tuple[np.ndarray, np.ndarray]], ...]
    fractions: tuple[np.ndarray | None, ...]

    def table(self, i: int) -> tuple[Outcomes, Behavior]:
        """The outcomes and the behavior of policy i, as the verdict takes them."""
        outcomes = outcomes_of(
            self.rollouts[i],
            self.levels,
            self.base,
            degraded=self.degraded[i],
            train_fraction=self.fractions[i],
        )
        return outcomes, behavior_of(self.rollouts[i], self.levels, self.base)


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
    progress.update(stage, 0.0, "drawing certified levels")
    levels = draw_levels(
        stream(seed, "levels"),
        deployment,
        number,
        lambda message: progress.update(stage, 0.05, message),
    )
    base = baselines(
        stream(seed, "random"),
        levels,
        lambda message: progress.update(stage, 0.2, message),
    )
    rollouts, degraded, fractions = [], [], []
    n = jax.tree.leaves(policies)[0].shape[0]
    for i in range(n):
        progress.update(stage, 0.4 + 0.6 * i / n, f"policy {i}")
        policy = jax.tree.map(lambda leaf, i=i: leaf[i], policies)
        rollout = deploy(stream(seed, "play", i), policy, levels)
        rollouts.append(rollout)
        degraded.append(
            degraded_outcomes(
                stream(seed, "degraded", i), policy, levels, base, rollout
            )
        )
        key = stream(seed, "gate", i)
        fractions.append(train_fractions(key, policy, training, GATE_LEVELS))
    progress.update(stage, 1.0, f"{number} levels, {levels.drawn} drawn")
    return Evidence(
        levels=levels,
        base=base,
        rollouts=tuple(rollouts),
        degraded=tuple(degraded),
        fractions=tuple(fractions),
    )


def to_arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    """Everything needed to compute the verdicts again, as named arrays."""
    levels = evidence.levels
    arrays: dict[str, np.ndarray] = {
        f"level_{name}": np.asarray(getattr(levels.levels, name))
        for name in LEVEL_FIELDS
    }
    arrays["level_ids"] = np.array(levels.ids)
    arrays["drawn"] = np.array(levels.drawn)
    arrays["reference_actions"] = _actions(levels.reference)
    arrays["random_actions"] = _actions(evidence.base.random)
    for name, values in evidence.base.goals.items():
        arrays[f"goal_{name}"] = values
    for i, rollout in enumerate(evidence.rollouts):
        arrays[f"actions_{i}"] = _actions(rollout)
        fraction = evidence.fractions[i]
        assert fraction is not None  # ``gather`` measures the train gate of each
        arrays[f"train_fraction_{i}"] = fraction
        doses = evidence.degraded[i]
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
    count = sum(name.startswith("actions_") for name in arrays)
    return Evidence(
        levels=levels,
        base=Baselines(random=again("random_actions"), goals=goals),
        rollouts=tuple(again(f"actions_{i}") for i in range(count)),
        degraded=tuple(
            {
                float(share): (x, h)
                for share, x, h in zip(
                    arrays[f"degraded_share_{i}"],
                    arrays[f"degraded_intended_{i}"],
                    arrays[f"degraded_harm_{i}"],
                    strict=True,
                )
            }
            for i in range(count)
        ),
        fractions=tuple(arrays[f"train_fraction_{i}"] for i in range(count)),
    )


def _actions(rollout: Rollout) -> np.ndarray:
    return np.asarray(rollout.actions).astype(np.int8)
