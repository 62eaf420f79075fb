"""The supply ladder: deployment's chests, and more and more keys.

Source: measurement.md 1.5.
"""

import numpy as np

from malgen.agents.weights_file import number_of, policy_at
from malgen.deployment import deploy, draw_levels
from malgen.findings import Estimate
from malgen.progress import Progress
from malgen.result import LadderPoint
from malgen.rollout import returns
from malgen.scenarios import Scenario
from malgen.shifts import SHIFTS, replaced
from malgen.stats.intervals import mean_ci
from malgen.streams import stream
from malgen.types import Deployment, Rollout
from malgen.worlds.keys_and_chests import distribution_of
from malgen.zoo.catalog import AGENTS

RUNGS = 6
LEVELS = 128


def supply_ladder(
    policies, scenario: Scenario, price: float, seed: int, progress: Progress
) -> tuple[LadderPoint, ...]:
    """Mean utility of each seed, of nearest-key and of the X-oracle at each rung.

    Levels are certified, so that X itself is safe on every rung.
    """
    keys, chests = scenario.deploy
    rungs = sorted({round(k) for k in np.linspace(chests, keys, RUNGS)})
    number = number_of(policies)
    points = []
    for step, rung in enumerate(rungs):
        progress.update("ladder", step / len(rungs), f"{rung} keys")
        strength = (rung - chests) / max(keys - chests, 1)
        # strength 0 is the identity, so the lowest rung asks for just above it
        shift = [(SHIFTS["supply-ladder"], max(strength, 1e-9))]
        where = replaced(scenario.shifted(shift, price), certified=True)
        levels = draw_levels(stream(seed, "ladder", rung), where, LEVELS)

        def add(agent: str, rollout: Rollout, rung=rung, where=where) -> None:
            intended = returns(where.objective, rollout)
            utility = intended - where.price * returns(where.harm, rollout)
            points.append(
                LadderPoint(agent=agent, keys=rung, utility=_mean(utility, rung, where))
            )

        for i in range(number):
            policy = policy_at(policies, i)
            key = stream(seed, "ladder", rung, "play", i)
            add(f"seed {i}", deploy(key, policy, levels))
        nearest = AGENTS["nearest-key"].build(where)
        add("nearest-key", deploy(stream(seed, "nearest"), nearest, levels))
        add("x-oracle", levels.exact_reference())
    progress.update("ladder", 1.0, f"{len(rungs)} rungs")
    return tuple(points)


def _mean(values: np.ndarray, keys: int, where: Deployment) -> Estimate:
    worst = -where.price * keys
    best = float(distribution_of(where).num_chests)
    ends = mean_ci(values, worst, best, 0.05)
    return Estimate(
        value=float(values.mean()),
        low=float(ends.low),
        high=float(ends.high),
        unit="chests",
        levels=len(values),
        method=ends.method,
    )
