"""All instruments by name, and asking several of them about one policy."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from malgen.audits import (
    attribution,
    cache,
    compute_dial,
    description_length,
    event_choices,
    goal_directedness,
    instrumentality,
    inverse_planning,
    pivotal_walls,
    replanning,
    trap_depth,
)
from malgen.audits.instrument import Case, Instrument, not_applicable
from malgen.errors import ConfigError, ContractError, MalgenError, NotMeasurable
from malgen.findings import Measurement
from malgen.progress import Progress, Silent, in_time
from malgen.registry import look_up

INSTRUMENTS: dict[str, Instrument] = {
    instrument.name: instrument
    for instrument in (
        # what does it pursue?
        instrumentality.INSTRUMENT,
        inverse_planning.INSTRUMENT,
        goal_directedness.INSTRUMENT,
        event_choices.INSTRUMENT,
        attribution.INSTRUMENT,
        # does it search?
        pivotal_walls.INSTRUMENT,
        trap_depth.INSTRUMENT,
        replanning.INSTRUMENT,
        compute_dial.INSTRUMENT,
        description_length.INSTRUMENT,
    )
}
"""In the order in which they are asked and shown."""

GOAL = ("instrumentality", "inverse-planning", "event-choices")
"""Those by which a goal is asserted, on which the labels rest (``goals.assertion``)."""

ALL, VERDICT = "all", "verdict"


def select(
    asked: str | Sequence[str], table: Mapping[str, Instrument] | None = None
) -> tuple[Instrument, ...]:
    """The instruments that somebody asked for, in the order of the table.

    Args:
        asked: "all", "verdict" (those that the label rests on), names with commas
            between them, or a sequence of names; an empty one asks for none.
        table: name -> instrument; None: ``INSTRUMENTS``.

    Raises:
        ConfigError: a name that is unknown, or nothing between two commas.
    """
    table = INSTRUMENTS if table is None else table
    if asked == ALL:
        return tuple(table.values())
    if asked == VERDICT:
        return tuple(table[name] for name in GOAL if name in table)
    names = asked.split(",") if isinstance(asked, str) else list(asked)
    wanted = set()
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"{name!r} is no name of an instrument; give {ALL}, {VERDICT}, or "
                f"names with commas between them ({', '.join(table)})."
            )
        if name.strip() in (ALL, VERDICT):
            wanted |= {i.name for i in select(name.strip(), table)}
        else:
            wanted.add(look_up("instrument", name.strip(), table).name)
    return tuple(i for name, i in table.items() if name in wanted)


def measure_all(
    case: Case,
    instruments: Sequence[Instrument],
    *,
    use_cache: bool = True,
    progress: Progress | None = None,
    stage: str = "",
    then: Mapping[str, float] | None = None,
) -> dict[str, Measurement]:
    """The answers of several instruments about one policy.

    Which of them apply is asked before any of them computes, and what the others
    will cost is said beforehand.

    Args:
        case: what is asked about.
        instruments: who is asked, in this order.
        use_cache: look for answers found before, and keep the new ones.
        progress: where to report.
        stage: one stage for all of them in the progress; "": one for each.
        then: stages that follow those, with about the seconds that each takes.

    Returns:
        Name -> answer, in the order asked; "not applicable" is an answer.

    Raises:
        MalgenError: what an instrument raised, with its name in front.
    """
    progress = progress or Silent()
    answers: dict[str, Measurement] = {}
    to_do: list[tuple[Instrument, str | None]] = []
    for instrument in instruments:
        reason = instrument.applicable(case)
        if reason:
            answers[instrument.name] = not_applicable(instrument, reason)
            continue
        key = cache.key_of(instrument, case) if use_cache else None
        found = cache.load(key) if key else None
        if found is not None and found.instrument == instrument.name:
            answers[instrument.name] = found
        else:
            to_do.append((instrument, key))
    if not stage:
        progress.plan({i.name: i.seconds for i, _ in to_do} | dict(then or {}))
    if to_do and not stage:
        progress.say(costs([i for i, _ in to_do], known=len(answers)))
    total = sum(i.seconds for i, _ in to_do) or 1.0
    done = 0.0
    for instrument, key in to_do:
        answer = _measured(instrument, case, progress, stage, done / total)
        done += instrument.seconds
        if key:
            cache.save(key, answer)
        answers[instrument.name] = answer
        if not stage:
            progress.update(instrument.name, 1.0)
    return {i.name: answers[i.name] for i in instruments}


def costs(instruments: Sequence[Instrument], *, known: int = 0) -> str:
    """What the instruments will cost, in one line."""
    parts = ", ".join(f"{i.name} about {in_time(i.seconds)}" for i in instruments)
    total = in_time(sum(i.seconds for i in instruments))
    beside = f" ({known} more are known or do not apply)" if known else ""
    return f"instruments, about {total} in all: {parts}{beside}"


def _measured(
    instrument: Instrument, case: Case, progress: Progress, stage: str, share: float
) -> Measurement:
    """One answer, with the seconds it took; errors name the instrument."""

    def say(message: object) -> None:
        if stage:
            progress.update(stage, share, f"{instrument.name}: {message}")
        else:
            progress.update(instrument.name, None, str(message))

    say("")
    began = time.monotonic()
    try:
        answer = instrument.measure(case, say)
    except NotMeasurable as error:
        answer = not_applicable(instrument, str(error))
    except MalgenError as error:
        raise type(error)(f"The instrument {instrument.name}: {error}") from error
    except Exception as error:
        error.add_note(f"This happened in the instrument {instrument.name}.")
        raise
    if answer.instrument != instrument.name:
        raise ContractError(
            f"The instrument {instrument.name} answered as {answer.instrument!r}."
        )
    answer = replace(answer, seconds=round(time.monotonic() - began, 2))
    # JSON has no such numbers, so they would be lost in the cache and the run folder
    if not _finite(dataclasses.astuple(answer)):
        raise ContractError(
            f"The instrument {instrument.name} answered with a number that is not "
            "finite; give None and a reason instead."
        )
    return answer


def _finite(thing: object) -> bool:
    if isinstance(thing, float):
        return math.isfinite(thing)
    if isinstance(thing, dict):
        return all(map(_finite, thing.values()))
    return not isinstance(thing, tuple) or all(map(_finite, thing))
