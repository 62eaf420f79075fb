"""Verdicts on recorded evidence: the trained policies, and scripted agents beside."""

from collections.abc import Callable, Mapping, Sequence

from malgen.agents.weights_file import number_of, policy_at
from malgen.audits.examination import Examination, examine
from malgen.audits.instrument import Case, Instrument
from malgen.deployment import Baselines, LevelSet, Subject, deploy
from malgen.errors import ContractError
from malgen.evidence import Evidence, tables
from malgen.findings import GoalReport, Verdict
from malgen.progress import Progress, Silent
from malgen.result import AgentResult, SeedResult
from malgen.scenarios import Scenario
from malgen.streams import stream
from malgen.types import Deployment, HostPolicy, Policy, Rollout
from malgen.verdict import verdict
from malgen.zoo.catalog import AGENTS

# "off" is not among them: it is the zero line of every plot.
COMPARED = ("nearest-key", "nearest-useful-item", "myopic-x", "x-oracle", "random")

HAND_WRITTEN = "a hand-written agent was not trained, so there is no train gate"
SKIPPED = "the train gate was skipped on request"


def examine_trained(
    policies,
    where: Scenario,
    instruments: Sequence[Instrument],
    *,
    seed: int,
    progress: Progress,
    use_cache: bool = True,
    sees: Callable[[Policy], Policy] = lambda policy: policy,
) -> tuple[Examination, ...]:
    """What the instruments say about policies stacked by seed.

    Args:
        policies: leaves [n, ...].
        where: their scenario.
        instruments: who is asked.
        seed: of the instruments' levels.
        progress: where to report, in the stage "instruments".
        use_cache: look for what was found before, and keep what is new.
        sees: what each policy is made before it is asked.
    """
    subjects = {f"seed {i}": policy_at(policies, i) for i in range(number_of(policies))}
    found = _examined(
        subjects, where, instruments, "trained", seed, use_cache, progress, 0.0, 0.7
    )
    return tuple(found.values())


def examine_scripted(
    names: Sequence[str],
    deployment: Deployment,
    where: Scenario,
    instruments: Sequence[Instrument],
    *,
    seed: int,
    progress: Progress,
    use_cache: bool = True,
) -> dict[str, Examination]:
    """What the instruments say about scripted agents, by their names."""
    subjects = {name: AGENTS[name].build(deployment) for name in names}
    return _examined(
        subjects,
        where,
        instruments,
        "hand-written",
        seed,
        use_cache,
        progress,
        0.7,
        1.0,
    )


def _examined(
    subjects: Mapping[str, Policy | HostPolicy],
    where: Scenario,
    instruments: Sequence[Instrument],
    provenance: str,
    seed: int,
    use_cache: bool,
    progress: Progress,
    begin: float,
    end: float,
) -> dict[str, Examination]:
    found = {}
    for i, (name, policy) in enumerate(subjects.items()):
        first = begin + (end - begin) * i / len(subjects)
        part = Part(progress, first, (end - begin) / len(subjects), name)
        case = Case(policy=policy, scenario=where, seed=seed, provenance=provenance)
        found[name] = examine(
            case, instruments, use_cache=use_cache, progress=part, stage="instruments"
        )
    progress.update("instruments", end)
    return found


class Part(Silent):
    """A stretch of a stage of some progress, told about one policy."""

    def __init__(self, whole: Progress, first: float, share: float, who: str) -> None:
        self._whole, self._first, self._share, self._who = whole, first, share, who

    def update(self, stage: str, done: float | None, detail: str = "") -> None:
        """The same stage, with this stretch's share of it."""
        at = self._first + self._share * (done or 0.0)
        self._whole.update(stage, at, f"{self._who}: {detail}")


def judge(
    evidence: Evidence,
    *,
    gate: bool = True,
    goals: Sequence[GoalReport | None] | None = None,
) -> tuple[SeedResult, ...]:
    """One verdict per policy, at a number of levels fixed beforehand.

    Args:
        evidence: their episodes.
        gate: demand competence in training first.
        goals: what goal inference says of each policy; None where it was not asked.

    Raises:
        ContractError: not one goal report for each policy.
    """
    if goals is None:
        goals = [None] * len(evidence.subjects)
    if len(goals) != len(evidence.subjects):
        raise ContractError(
            f"got {len(goals)} goal reports for {len(evidence.subjects)} policies; "
            "give one for each, None where its goal was not inferred."
        )
    price = evidence.levels.deployment.price
    found = []
    for i in range(len(evidence.subjects)):
        outcomes, behavior = evidence.table(i)
        result = verdict(
            outcomes,
            price=price,
            behavior=behavior,
            goal=goals[i],
            gate=gate,
            gate_reason="" if gate else SKIPPED,
            engine="fixed",
        )
        found.append(SeedResult(seed=i, verdict=result))
    return tuple(found)


def judge_scripted(
    rollout: Rollout,
    levels: LevelSet,
    base: Baselines,
    goal: GoalReport | None = None,
) -> Verdict:
    """The verdict on a hand-written agent's episodes; without a train gate."""
    outcomes, behavior = tables(Subject(rollout=rollout), levels, base)
    return verdict(
        outcomes,
        price=levels.deployment.price,
        behavior=behavior,
        goal=goal,
        gate=False,
        gate_reason=HAND_WRITTEN,
        engine="fixed",
    )


def compare(
    evidence: Evidence,
    seed: int,
    progress: Progress,
    goals: Mapping[str, GoalReport] | None = None,
) -> tuple[AgentResult, ...]:
    """The scripted agents on the same levels; ``goals`` by the name of the agent."""
    found = []
    for i, name in enumerate(COMPARED):
        done = 0.3 + 0.7 * i / len(COMPARED)
        progress.update("audit", done, f"{name}, for comparison")
        rollout = scripted_rollout(evidence.levels, seed, name)
        goal = (goals or {}).get(name)
        result = judge_scripted(rollout, evidence.levels, evidence.base, goal)
        about = AGENTS[name].about
        found.append(AgentResult(agent=name, about=about, verdict=result))
    progress.update("audit", 1.0, "policies and scripted agents")
    return tuple(found)


def scripted_rollout(levels: LevelSet, seed: int, name: str) -> Rollout:
    """A scripted agent's episodes on a level set, on a random stream of its own."""
    if name == "x-oracle":
        return levels.exact_reference()
    agent = AGENTS[name].build(levels.deployment)
    return deploy(stream(seed, "agent", name), agent, levels)
