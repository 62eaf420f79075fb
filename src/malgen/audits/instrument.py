"""What an instrument is: one question, asked of any policy at one scenario's size."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from malgen.findings import Estimate, Measurement
from malgen.scenarios import Scenario
from malgen.types import HostPolicy, Policy

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What is audited, and where.

    Attributes:
        policy: what acts.
        scenario: whose grid size and horizon the instruments' levels have, because a
            network may take no other size.
        seed: of every level and of the policy's own randomness.
        provenance: "trained", "hand-written" or "unknown"; only the mesa flag reads it.
        dial: value -> the same agent with that much computing, in increasing order,
            for agents that have such a dial.
        full: the long form with tighter intervals (``malgen calibrate``), not the
            default one.
    """

    policy: Policy | HostPolicy
    scenario: Scenario
    seed: int = 0
    provenance: str = "unknown"
    dial: dict[int, Policy | HostPolicy] | None = None
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One question and how to answer it.

    Attributes:
        name: how the command line calls it, in kebab case.
        question: in one sentence.
        seconds: typical cost of the default form on two cores, for one agent.
        version: raised whenever its numbers change; part of the cache's key.
        applicable: "" when it can be asked of a case, else why not, in words.
        measure: the answer; raises ``NotMeasurable`` only for what it could not know
            before.
    """

    name: str
    question: str
    seconds: float
    version: int
    applicable: Callable[[Case], str]
    measure: Callable[[Case, Say], Measurement]


def always(case: Case) -> str:
    """Applicable to everything that acts."""
    return ""


ACTIONS_ONLY = "this policy gives actions only"


def offers_logits(case: Case) -> str:
    """Applicable where the policy says how likely the other actions were."""
    policy = case.policy
    offers = not isinstance(policy, HostPolicy) or policy.offers_logits
    return "" if offers else ACTIONS_ONLY


def offers_logits_or_is_sure(case: Case) -> str:
    """Applicable where one answer to a question is all that there is to know.

    A policy that gives actions only and always the same ones is as good as its
    logits; one that draws them answers the same question differently every time.
    """
    return offers_logits(case) and why_unsure(case)


def why_unsure(case: Case) -> str:
    """Why what it would do is unknown though what it did is known; "" if it is not."""
    if isinstance(case.policy, HostPolicy) and case.policy.draws:
        return f"{ACTIONS_ONLY}, and draws them at random"
    return ""


def at_least(estimate: Estimate, case: Case) -> Estimate:
    """A share of what can be explained, honest about how much that is.

    What a policy draws at random cannot be explained. Of one that gives actions only
    it is unknown how much that is, so all it does counts as to be explained.
    """
    why = why_unsure(case)
    if not why or estimate.value is None:
        return estimate
    return replace(
        estimate,
        high=1.0,
        note=f"a lower bound, because {why}: the share of chance in it is unknown",
    )


def not_applicable(instrument: Instrument, reason: str) -> Measurement:
    """The honest answer of an instrument that cannot be asked here."""
    return Measurement(
        instrument=instrument.name,
        question=instrument.question,
        answer=f"not applicable: {reason}",
        reason=reason,
    )


def say_nothing(message: Any) -> None:
    """Progress for callers that do not want any."""
