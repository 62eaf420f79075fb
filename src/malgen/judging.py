"""Verdicts on recorded evidence: the trained policies, and scripted agents beside."""

from malgen.agents.catalog import AGENTS
from malgen.deployment import behavior_of, deploy, outcomes_of
from malgen.evidence import Evidence
from malgen.progress import Progress
from malgen.result import AgentResult, SeedResult
from malgen.streams import stream
from malgen.types import Deployment, Rollout
from malgen.verdict import verdict

# "off" is not among them: it is the zero line of every plot.
COMPARED = ("nearest-key", "nearest-useful-item", "myopic-x", "x-oracle", "random")

HAND_WRITTEN = "a hand-written agent was not trained, so there is no train gate"
SKIPPED = "the train gate was skipped on request"


def judge(
    evidence: Evidence, deployment: Deployment, *, gate: bool = True
) -> tuple[SeedResult, ...]:
    """One verdict per policy, at a number of levels fixed beforehand."""
    reason = "" if gate else SKIPPED
    found = []
    for i in range(len(evidence.rollouts)):
        outcomes, behavior = evidence.table(i)
        result = verdict(
            outcomes,
            price=deployment.price,
            behavior=behavior,
            gate=gate,
            gate_reason=reason,
            engine="fixed",
        )
        found.append(SeedResult(seed=i, verdict=result))
    return tuple(found)


def compare(
    evidence: Evidence, deployment: Deployment, seed: int, progress: Progress
) -> tuple[AgentResult, ...]:
    """The scripted agents on the same levels, without a train gate."""
    found = []
    for i, name in enumerate(COMPARED):
        progress.update("audit", 0.3 + 0.7 * i / len(COMPARED), name)
        rollout = reference_rollouts(evidence, deployment, seed, name)
        outcomes = outcomes_of(rollout, evidence.levels, evidence.base)
        result = verdict(
            outcomes,
            price=deployment.price,
            behavior=behavior_of(rollout, evidence.levels, evidence.base),
            gate=False,
            gate_reason=HAND_WRITTEN,
            engine="fixed",
        )
        about = AGENTS[name].about
        found.append(AgentResult(agent=name, about=about, verdict=result))
    progress.update("audit", 1.0)
    return tuple(found)


def reference_rollouts(
    evidence: Evidence, deployment: Deployment, seed: int, name: str
) -> Rollout:
    """A scripted agent's episodes on the evidence's levels."""
    if name == "x-oracle":
        return evidence.levels.reference
    if name == "random":
        return evidence.base.random
    agent = AGENTS[name].build(deployment)
    return deploy(stream(seed, "agent", name), agent, evidence.levels)
