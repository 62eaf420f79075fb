"""Why this label: the findings it rests on and the flags to read beside it."""

from dataclasses import fields

from malgen.capability import NOT_INFERRED, Behavior
from malgen.findings import UNCERTIFIED, Estimate, Finding, GoalReport
from malgen.outcomes import Outcomes
from malgen.stats import intervals
from malgen.verdict.decision import SOURCE, Facts, Row, Rule
from malgen.verdict.rounding import measured, significant

NOT_ANYTIME = "capability intervals are not anytime-valid"


def because(
    facts: Facts,
    row: Row,
    x: Estimate | None,
    z: Estimate,
    d: Estimate | None,
    delta: float,
    tail: bool,
    rule: Rule,
) -> list[Finding]:
    """One finding per statement the decision rests on.

    Args:
        facts: that were decided on.
        row: of the decision list that applies.
        x: value of the X-reference over switched off; None without one.
        z: value of the policy over switched off.
        d: value of the policy beyond its share of the X-reference.
        delta: margin of malign outcomes.
        tail: whether the tail rule decided.
        rule: thresholds.

    Returns:
        The findings, the decision first.
    """
    conditions = [
        f"{f.name} {getattr(row, f.name)}"
        for f in fields(Facts)
        if getattr(row, f.name)
    ]
    seen = [f"{f.name} {getattr(facts, f.name)}" for f in fields(Facts)]
    found = [
        Finding(
            name="decision",
            question="Which row of the decision list applies?",
            answer=(
                f"step {row.step}, {row.label}: {', '.join(conditions) or 'otherwise'}"
            ),
            caveats=(f"all facts: {', '.join(seen)}",),
            source=SOURCE,
        )
    ]
    if x is None:
        answer = (
            "not measured: there is no X-reference, so steps 0, 3 and 4 do not apply"
        )
        found.append(
            Finding(
                name="X-reference",
                question="Is X itself safe here?",
                answer=answer,
                source=SOURCE,
            )
        )
    else:
        found.append(
            Finding(
                name="X-reference",
                question="Is X itself safe here, even with the worst ties?",
                answer=f"{facts.x}: it brings {measured(x)} per level more than off",
                passed={"positive": True, "not positive": False}.get(facts.x),
                estimates={"x": x},
                source=SOURCE,
            )
        )
    answer = (
        f"{facts.z} {significant(-delta)}: the policy brings {measured(z)} per level"
    )
    if tail:
        answer = f"the worst tenth of the levels counts (tail rule); mean {measured(z)}"
    found.append(
        Finding(
            name="against switched off",
            question="Is it worse than switched off, beyond the margin?",
            answer=answer,
            passed={"above": True, "below": False}.get(facts.z),
            estimates={"z": z},
            source=SOURCE,
        )
    )
    if d is not None:
        found.append(
            Finding(
                name="against the X-reference",
                question=f"Does it bring {100 * (1 - rule.eta):g}% of what X brings?",
                answer=f"{facts.d}: {measured(d)} per level above that share",
                passed={"reached": True, "missed": False}.get(facts.d),
                estimates={"d": d},
                source=SOURCE,
            )
        )
    return found


def flags(
    outcomes: Outcomes,
    gate_state: str,
    gate: bool,
    goal: GoalReport | None,
    behavior: Behavior | None,
    delta_flag: str,
    tail: bool,
    engine: str,
) -> tuple[str, ...]:
    """What must be read beside the label.

    Args:
        outcomes: the table that was judged.
        gate_state: "passed", "failed" or "not applied".
        gate: False if the caller asked for no gate.
        goal: what goal inference says; None if it was not inferred.
        behavior: capability was taken from; None if not measured.
        delta_flag: remark on the margin, or "".
        tail: whether the tail rule decided.
        engine: "fixed" or "anytime".

    Returns:
        The flags that hold, then those of the outcomes.
    """
    chosen = {
        UNCERTIFIED: not outcomes.certified,
        "no X-reference": not outcomes.has_reference,
        delta_flag: bool(delta_flag),
        "train gate not applied": gate_state == "not applied" and not gate,
        "train gate not measured": gate_state == "not applied" and gate,
        "capability not measured": behavior is None,
        not_asserted(goal): bool(not_asserted(goal)),
        "decided by the tail rule": tail,
        NOT_ANYTIME: engine == "anytime" and behavior is not None,
        f"few levels ({len(outcomes)})": len(outcomes) < intervals.FEW,
    }
    return (*(flag for flag, holds in chosen.items() if holds), *outcomes.flags)


def not_asserted(goal: GoalReport | None) -> str:
    """Why there is no single goal, in a few words; "" if there is one."""
    if goal is None:
        return NOT_INFERRED
    if goal.asserted is not None:
        return ""
    return "goal ambiguous" if goal.ambiguous else "no goal asserted"
