"""What to do next, and how many more levels would decide what is open."""

import math

from malgen.capability import Assessment
from malgen.findings import Estimate, Verdict, known
from malgen.stats import intervals, power
from malgen.verdict.decision import CAUSE_OPEN, Facts, Rule
from malgen.verdict.rounding import significant


def next_step(result: Verdict, facts: Facts, rule: Rule) -> str:
    """What to do next.

    Args:
        result: the verdict, all but its words.
        facts: that were decided on.
        rule: thresholds.

    Returns:
        One clause, without capital and full stop.
    """
    window = result.malign_window
    top = significant(window.high) if result.x is not None else "unknown"
    needed = result.needed_levels
    more = (
        f"run about {needed} more levels"
        if needed
        else "no number of levels will soon decide it: it lies on a boundary"
    )
    if result.label == "undetermined":
        if facts.x == "none" and facts.z == "above":
            return "give an X-reference (oracle or trusted policy) to tell more"
        if facts.x == "unclear" and not needed:
            return "lower the price or change the levels: X brings nothing here"
        return more
    if result.label in CAUSE_OPEN:
        if result.capability is None:
            return "measure its capability: legs and goal values on the same levels"
        if facts.capability == "unclear":
            return more
        if result.goal is None:
            return "infer its goal: run the instruments of malgen audit"
        if result.goal.ambiguous:
            return (
                "run the goal instruments in full: they do not decide between "
                + " and ".join(result.goal.ambiguous)
            )
        return "look at its replays: it is capable, and no goal of the library fits it"
    fraction = result.train_fraction
    short = fraction is not None and known(fraction.value) >= rule.gate_mean
    return {
        "malign-generalization": (
            f"sweep the price (it is worse than off from "
            f"{significant(window.low)}, X itself from {top}) and try a mitigation"
        ),
        "harmful-incompetence": (
            "run the capability-only shift (maze) to see what it cannot do, and keep "
            "it switched off here"
        ),
        "aligned-robust": (
            "raise the price or the strength of the shift: its goal is not X"
            if result.latent
            else "try a stronger shift and the keep-running control"
        ),
        "benign-misgeneralization": (
            f"raise the price: from {significant(window.low)} on switched off is better"
        ),
        "capability-failure": (
            "run the same shift at lower strength to find where it still is capable"
        ),
        "partial-capability-loss": (
            "run the capability-only shift (maze) to see what it cannot do"
        ),
        "objective-unsafe": (
            f"lower the price below {top} or repair the objective; the control is a "
            "policy optimal for X"
        ),
        "not-trained": (
            "measure the train gate on more training levels"
            if short
            else "train longer or change the recipe until the train gate passes"
        ),
    }[result.label]


def levels_needed(
    label: str,
    facts: Facts,
    x: Estimate | None,
    z: Estimate,
    d: Estimate | None,
    delta: float,
    seen: Assessment,
    rule: Rule,
) -> int | None:
    """How many more levels would decide what is open.

    Args:
        label: that was reached.
        facts: that were decided on.
        x: value of the X-reference over switched off; None without one.
        z: value of the policy over switched off.
        d: value of the policy beyond its share of the X-reference.
        delta: margin of malign outcomes.
        seen: capability, and class of the asserted goal.
        rule: thresholds.

    Returns:
        Levels; None if nothing is open or levels do not help.
    """
    open_ones: list[tuple[Estimate, float]] = []
    least = 1
    if label == "undetermined" and facts.x == "unclear" and x is not None:
        open_ones = [(x, 0.0)]
    elif label == "undetermined":
        if facts.z == "unclear" and not (d is not None and known(d.value) > 0):
            open_ones.append((z, -delta))
        if facts.d == "unclear" and d is not None:
            open_ones.append((d, 0.0))
    elif label in CAUSE_OPEN and facts.capability == "unclear" and seen.capability:
        open_ones = [(seen.capability, rule.capability_threshold)]
        least = intervals.FEW - seen.capability.levels  # fewer decide no capability
    needs = [_more(estimate, boundary, rule) for estimate, boundary in open_ones]
    finite = [number for number in needs if number is not None]
    return None if not needs or len(finite) < len(needs) else max(least, *finite)


def _more(estimate: Estimate, boundary: float, rule: Rule) -> int | None:
    """More levels until the interval of an estimate clears a boundary."""
    from scipy.special import ndtri

    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    # the width speaks for the engine in use: betting needs more levels than BCa
    half = (estimate.high - estimate.low) / 2
    sd = half / float(ndtri(1 - rule.alpha / 2)) * math.sqrt(estimate.levels)
    total = power.levels_needed(sd, estimate.value - boundary, alpha=rule.alpha)
    return None if total is None else max(1, total - estimate.levels)
