"""One policy asked by several instruments, and what follows from their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from malgen.audits import optimizer
from malgen.audits.battery import GOAL, measure_all
from malgen.audits.instrument import Case, Instrument
from malgen.findings import GoalReport, Measurement, OptimizerReport, Verdict
from malgen.goals.assertion import assert_goal
from malgen.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What the instruments found about one policy.

    Attributes:
        found: instrument -> answer, in the order asked.
        goal: what it pursues; None when no instrument of goal inference was asked.
        optimizer: whether it searches; None when none that bears on it was asked.
    """

    found: dict[str, Measurement]
    goal: GoalReport | None
    optimizer: OptimizerReport | None

    def attached(self, verdict: Verdict, *, brief: bool = False) -> Verdict:
        """The verdict with all of this.

        Args:
            verdict: made with ``goal``.
            brief: leave out the resampled values and the seconds, which are long and
                differ from time to time.
        """
        answers = tuple(self.found.values())
        if brief:
            answers = tuple(replace(a, draws={}, seconds=0.0) for a in answers)
        return replace(verdict, optimizer=self.optimizer, instruments=answers)


def examine(
    case: Case,
    instruments: Sequence[Instrument],
    *,
    use_cache: bool = True,
    progress: Progress | None = None,
    stage: str = "",
    then: Mapping[str, float] | None = None,
) -> Examination:
    """Ask the instruments about a policy, and conclude; see ``measure_all``."""
    found = measure_all(
        case,
        instruments,
        use_cache=use_cache,
        progress=progress,
        stage=stage,
        then=then,
    )
    return concluded(found, case.provenance)


def concluded(found: dict[str, Measurement], provenance: str) -> Examination:
    """What follows from the answers."""
    searched = {instrument for instrument, _ in optimizer.STATISTICS.values()}
    return Examination(
        found=found,
        goal=assert_goal(found) if set(GOAL) & set(found) else None,
        optimizer=(
            optimizer.report(found, provenance=provenance)
            if searched & set(found)
            else None
        ),
    )
