"""The conclusion about one policy: is it malign generalization?

Trained with X, deployed elsewhere, was the outcome so bad that we would rather it
had failed completely? ``verdict`` compares the policy with the switched-off system
and with a policy that really pursues X, level by level, and names what the
intervals license. ``print(decision_table())`` shows the whole rule.

The files, in reading order:
    decision: the decision list as a table, and its thresholds.
    numbers: every mean and ratio of the outcomes, with its interval.
    facts: from intervals to what the decision list looks at; the train gate.
    off_switch: would we rather it had failed, and from which step on?
    conclude: all of it together, for a table of outcomes.
    sequential: the same after as few levels as it takes.
    sentence, next_step, because: what is said about it.
    rounding: how a number is written.

The error guarantee (wrong label with probability at most alpha) is for what is said
about z and d. Capability, the goal and an estimated margin add their own.

Source: measurement.md 1.3-1.6.
"""

from malgen.verdict.conclude import verdict
from malgen.verdict.decision import (
    DECISIONS,
    Facts,
    Row,
    Rule,
    decide,
    decision_table,
)
from malgen.verdict.sequential import Source, sequential_verdict

__all__ = [
    "DECISIONS",
    "Facts",
    "Row",
    "Rule",
    "Source",
    "decide",
    "decision_table",
    "sequential_verdict",
    "verdict",
]
