"""The verdict after as few levels as it takes.

Source: measurement.md 1.6 (anytime-valid engine).
"""

from collections.abc import Callable

from malgen.capability import Assessment, Behavior, assess, class_of
from malgen.errors import ConfigError, ContractError
from malgen.findings import Estimate, GoalReport, Verdict
from malgen.outcomes import Outcomes
from malgen.stats import betting
from malgen.stats.intervals import FEW
from malgen.verdict.conclude import check_arguments, verdict
from malgen.verdict.decision import CAUSE_OPEN, Rule, decide
from malgen.verdict.facts import facts_from, margin, train_gate

Source = Outcomes | Callable[[int, int], Outcomes | tuple[Outcomes, Behavior]]


def sequential_verdict(
    source: Source,
    *,
    price: float = 1.0,
    behavior: Behavior | None = None,
    goal: GoalReport | None = None,
    gate: bool = True,
    gate_reason: str = "",
    rule: Rule | None = None,
    seed: int = 0,
    batch: int = 64,
    n_max: int = 4096,
) -> Verdict:
    """The verdict after as few levels as it takes.

    Looks after each batch and stops at a decision. The intervals of z, x and d are
    confidence sequences intersected over time, so looking costs no error. An
    outcome whose *cause* is still open goes on while capability may yet be settled;
    that has no such guarantee, which a flag of the verdict says. The goal comes from
    levels of its own, so further levels would not settle it.

    Args:
        source: all rows in order of arrival, or ``source(start, size)`` giving the
            next levels as Outcomes or (Outcomes, Behavior). Order must not depend
            on outcomes, and scalar bounds must not change between batches.
        price: as in ``verdict``.
        behavior: for rows given as a table: on the same rows, in the same order.
        goal: as in ``verdict``.
        gate: as in ``verdict``.
        gate_reason: as in ``verdict``.
        rule: as in ``verdict``.
        seed: as in ``verdict``.
        batch: levels per look, >= 1.
        n_max: levels after which it stops undecided.

    Returns:
        The verdict on the levels used; ``levels`` says how many.

    Raises:
        ConfigError: as ``verdict``, or for an empty batch.
        ContractError: when a batch breaks the bounds of the first.
    """
    if batch < 1 or n_max < 1:
        raise ConfigError(f"batch and n_max must be positive, got {batch} and {n_max}.")
    rule = rule or Rule()
    table, behavior, draw = _reader(source, behavior, min(batch, n_max))
    check_arguments(table, price, behavior, "anytime")
    state = train_gate(table, gate, gate_reason, rule, seed)[0]
    looks, fresh = _Looks(table, price, rule), table
    while True:
        x, z, d = looks.update(fresh)
        delta = margin(rule, x)[0]
        seen = Assessment(None, class_of(goal), ())
        facts = facts_from(x, z, d, delta, state, seen, rule)
        if decide(facts).label in CAUSE_OPEN and behavior is not None:
            seen = assess(behavior, goal, alpha=rule.alpha, seed=seed)
            facts = facts_from(x, z, d, delta, state, seen, rule)
        label = decide(facts).label
        open_cause = (
            label in CAUSE_OPEN
            and behavior is not None
            and facts.capability == "unclear"
            # where nothing can be measured, more levels do not change that
            and (seen.capability is not None or len(table) < FEW)
        )
        if label != "undetermined" and not open_cause:
            break
        if facts.x == "none" and facts.z == "above":
            break  # not malign; without a reference more levels say no more
        size = min(batch, n_max - len(table))
        fresh, more = draw(len(table), size) if size > 0 else (None, None)
        if fresh is None:
            break
        table = table.extended(fresh)
        if behavior is not None:
            if more is None:
                raise ContractError(
                    "the first batch came with a behavior but a later one did not; "
                    "give one with every batch or with none."
                )
            behavior = behavior.extended(more)
    return verdict(
        table,
        price=price,
        behavior=behavior,
        goal=goal,
        gate=gate,
        gate_reason=gate_reason,
        engine="anytime",
        rule=rule,
        seed=seed,
    )


_Batch = tuple[Outcomes | None, Behavior | None]


def _reader(
    source: Source, behavior: Behavior | None, size: int
) -> tuple[Outcomes, Behavior | None, Callable[[int, int], _Batch]]:
    """The first batch and a function that gives the next ones or (None, None)."""
    if isinstance(source, Outcomes):
        if behavior is not None and len(behavior) != len(source):
            raise ContractError(
                f"behavior has {len(behavior)} rows and outcomes {len(source)}; a "
                "sequential verdict needs the same rows in the same order."
            )

        def draw(start: int, size: int) -> _Batch:
            if start >= len(source):
                return None, None
            part = slice(start, start + size)
            return source.rows(part), behavior.rows(part) if behavior else None

    else:

        def draw(start: int, size: int) -> _Batch:
            given = source(start, size)
            return given if isinstance(given, tuple) else (given, None)

    table, first = draw(0, size)
    assert table is not None  # there is always a first batch
    return table, first, draw


class _Looks:
    """Confidence sequences of x, z and d, fed batch by batch."""

    def __init__(self, first: Outcomes, price: float, rule: Rule) -> None:
        self.price, self.rule = price, rule
        self.ranges = {"z": first.bounds_z(price)}
        if first.has_reference:
            self.ranges["x"] = first.bounds_z(price)
            self.ranges["d"] = first.bounds_d(price, rule.eta)
        self.sequences = {
            name: betting.BettingSequence(*ends, rule.alpha)
            for name, ends in self.ranges.items()
        }

    def update(
        self, batch: Outcomes
    ) -> tuple[Estimate | None, Estimate, Estimate | None]:
        """Estimates of x, z and d after one more batch."""
        new = {"z": batch.z(self.price)}
        if "x" in self.sequences:
            new["x"] = batch.x(self.price)
            new["d"] = batch.d(self.price, self.rule.eta)
        found = {}
        for name, sequence in self.sequences.items():
            ends = sequence.update(new[name])
            found[name] = Estimate(
                value=float(sequence.values.mean()),
                low=ends.low,
                high=ends.high,
                unit="",
                levels=len(sequence.values),
            )
        return found.get("x"), found["z"], found.get("d")
