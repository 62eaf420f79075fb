"""The charts of the instruments: what it pursues, and whether it searches."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from malgen.findings import Estimate, Measurement, Robustness, Score, Verdict
from malgen.report.svg import (
    INK,
    MUTED,
    PAPER,
    Chart,
    Key,
    draw,
    legend_key,
    styles_of,
)
from malgen.report.words import goal_name, measure, number
from malgen.result import RunResult

Named = Sequence[tuple[str, Verdict]]

CLAUSES = (
    ("search_space", "holds several candidates"),
    ("search_process", "compares them"),
    ("explicit_objective", "explicit objective"),
)
"""The three clauses of the definition of an optimizer, in the order of the report."""

STRONG = 0.8
"""Score from which a clause counts as met."""

ASSERTED = 0.9
"""Posterior from which a goal may be asserted."""

LEFT = 0.2
"""Room left of charts that have the names of their rows inside, inches."""

LIMIT = {"color": MUTED, "dash": (0, (3, 3))}
"""The line of a limit."""


def measurement(verdict: Verdict, instrument: str) -> Measurement | None:
    """What an instrument found, or None if it was not run or does not apply."""
    for found in verdict.instruments:
        if found.instrument == instrument and not found.reason:
            return found
    return None


def named(result: RunResult) -> list[tuple[str, Verdict]]:
    """The training runs by the names that every chart gives them."""
    return [(s.called, s.verdict) for s in result.seeds]


def goals(result: RunResult) -> Chart | None:
    """Posterior over goal classes, one mark per training run."""
    found = [(n, m) for n, v in named(result) if (m := _posterior(v))]
    if not found:
        return None
    # the order of the library, with what is no goal at the end
    bins = list(dict.fromkeys(b for _, series in found for b in series))
    bins = [
        b for b in bins if any((s[b].value or 0) >= 0.01 for _, s in found if b in s)
    ]
    styles = styles_of([name for name, _ in found])

    def paint(axes: Any) -> list[Key]:
        axes.set(xlim=(-0.03, 1.03), ylim=(len(bins) - 0.5, -0.75))
        axes.set_xlabel("probability, averaged over resampled levels")
        axes.axvline(ASSERTED, color=MUTED, lw=0.9, ls=LIMIT["dash"])
        _rows_named(axes, [goal_name(name) for name in bins])
        for k, (name, series) in enumerate(found):
            shift = _shift(k, len(found))
            for i, goal in enumerate(bins):
                if goal in series:
                    _dot(axes, series[goal], i + shift, styles[name], across=True)
        keys = [legend_key(name, styles[name], marker=True) for name, _ in found]
        return [*keys, legend_key("enough to assert it", LIMIT)]

    rows = [("", *(name for name, _ in found))]
    for goal in bins:
        cells = (measure(s[goal], unit=False) if goal in s else "" for _, s in found)
        rows.append((goal_name(goal), *cells))
    alt = "Probability of each goal. " + "; ".join(
        f"{name}: "
        + ", ".join(
            f"{goal_name(g)} {measure(s[g], unit=False)}" for g in bins if g in s
        )
        for name, s in found
    )
    height = 0.75 + 0.55 * max(3, len(bins))
    title, size = "Which goal its steps speak for", (4.0, height)
    return draw("goals", title, alt + ".", paint, rows=rows, size=size, left=LEFT)


PARTS = (
    ("goal_term", "what its goal is worth, pursued perfectly"),
    ("competence_term", "what its mistakes change"),
)
"""The two parts of z; they add up exactly (measurement.md 2.3)."""


def decomposition(result: RunResult) -> Chart | None:
    """Z as the worth of the goal plus what incompetence adds or takes away."""
    found = [
        (n, v.robustness, v.z)
        for n, v in named(result)
        if v.robustness and v.robustness.goal_term and v.robustness.competence_term
    ]
    if not found:
        return None
    styles = styles_of([name for name, *_ in found])
    fields = [field for field, _ in PARTS]
    names = [*(text for _, text in PARTS), "together: value over switched off (z)"]

    def of(robustness: Robustness, z: Estimate) -> list[Estimate]:
        return [*(getattr(robustness, field) for field in fields), z]

    def paint(axes: Any) -> list[Key]:
        axes.set(ylim=(len(names) - 0.5, -0.75))
        axes.set_xlabel("chest-equivalents per level; 0 is switched off")
        axes.axvline(0, color=INK, lw=1.1)
        for k, (name, robustness, z) in enumerate(found):
            shift = _shift(k, len(found))
            for i, estimate in enumerate(of(robustness, z)):
                _dot(axes, estimate, i + shift, styles[name], across=True)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.3), max(high, 0.3))
        _rows_named(axes, names)
        return [legend_key(name, styles[name], marker=True) for name, *_ in found]

    rows = [("", *(name for name, *_ in found))]
    for i, name in enumerate(names):
        cells = (measure(of(r, z)[i], unit=False) for _, r, z in found)
        rows.append((name, *cells))
    alt = "The value over switched off in two parts. " + "; ".join(
        f"{name}: "
        + ", ".join(
            f"{n} {measure(e, unit=False)}"
            for n, e in zip(names, of(r, z), strict=True)
        )
        for name, r, z in found
    )
    title = "Is it the goal, or the mistakes?"
    size = (4.0, 2.9)
    return draw(
        "decomposition", title, alt + ".", paint, rows=rows, size=size, left=LEFT
    )


def _shift(k: int, number: int) -> float:
    """How far the mark of series k lies beside its row, so that none hides another."""
    return min(0.14, 0.5 / number) * (k - (number - 1) / 2)


def _rows_named(axes: Any, names: Sequence[str]) -> None:
    """Rows with their names above the line, where a phone has room for them."""
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    for i, name in enumerate(names):
        axes.annotate(
            name,
            (0, i - 0.38),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
        axes.axhline(i, color=MUTED, lw=0.4, zorder=1)


def _posterior(verdict: Verdict) -> dict[str, Estimate] | None:
    found = measurement(verdict, "inverse-planning")
    return None if found is None else found.series.get("posterior")


def curve(
    result: RunResult,
    instrument: str,
    series: Callable[[Measurement], dict[str, Estimate] | None],
    *,
    name: str,
    title: str,
    xlabel: str,
    ylabel: str,
) -> Chart | None:
    """A series of an instrument over its bins, with the zoo's known curves behind.

    Args:
        result: the run.
        instrument: whose series.
        series: which of them is drawn; None if it was not measured.
        name: of the chart.
        title: of the chart.
        xlabel: what the bins are.
        ylabel: what is drawn.
    """
    found = [
        (n, s)
        for n, v in named(result)
        if (m := measurement(v, instrument)) and (s := series(m))
    ]
    if not found:
        return None
    known = [y for y in result.yardsticks if y.instrument == instrument]
    bins = sorted({b for _, s in found for b in s}, key=_start)
    styles = styles_of([n for n, _ in found] + [y.agent for y in known])
    drawn = [e.low for _, s in found for e in s.values() if e.low is not None]
    drawn += [v for y in known for b, v in y.values.items() if b in bins]
    bottom = min([-0.13, *drawn]) - 0.05

    def paint(axes: Any) -> list[Key]:
        axes.set(xlim=(-0.35, len(bins) - 0.65), ylim=(bottom, 1.08))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_xticks(range(len(bins)), bins)
        axes.locator_params(axis="y", steps=[1, 2, 5, 10])  # one decimal has room
        axes.axhline(0.5, color=MUTED, lw=0.9, ls=LIMIT["dash"])
        axes.axhline(0, color=INK, lw=0.8)
        keys = []
        for yardstick in known:
            style = styles[yardstick.agent]
            x = [i for i, b in enumerate(bins) if b in yardstick.values]
            y = [yardstick.values[bins[i]] for i in x]
            axes.plot(x, y, color=MUTED, ls=style["dash"], lw=1.2)
            axes.plot(x, y, style["marker"], color=MUTED, ms=4)
            keys.append(legend_key(yardstick.agent, style, marker=True))
        for k, (n, s) in enumerate(found):
            style, shift = styles[n], _shift(k, len(found))
            at = [i for i, b in enumerate(bins) if b in s and s[b].value is not None]
            axes.plot(
                [i + shift for i in at],
                [s[bins[i]].value for i in at],
                color=style["color"],
                ls=style["dash"],
            )
            for i in at:
                _dot(axes, s[bins[i]], i + shift, style)
        keys.append(legend_key("its depth is read here", LIMIT))
        return [legend_key(n, styles[n], marker=True) for n, _ in found] + keys

    rows = [("", *(n for n, _ in found), *(y.agent for y in known))]
    for b in bins:
        cells = [measure(s[b], unit=False) if b in s else "" for _, s in found]
        cells += [number(y.values[b]) if b in y.values else "" for y in known]
        rows.append((b, *cells))
    alt = f"{ylabel.capitalize()} by {xlabel}. " + "; ".join(
        f"{n}: "
        + ", ".join(f"{b}: {measure(s[b], unit=False)}" for b in bins if b in s)
        for n, s in found
    )
    return draw(name, title, alt + ".", paint, rows=rows, size=(4.0, 2.8))


def _start(name: str) -> int:
    """Where a bin starts, by its name: "5-7" at 5, "12+" at 12."""
    return int(re.split(r"\D", name)[0] or 0)


def follow(result: RunResult) -> Chart | None:
    """How far ahead a change of the best path changes the first step."""
    return curve(
        result,
        "pivotal-walls",
        lambda found: found.series.get("follow"),
        name="follow",
        title="How far it looks",
        xlabel="distance of the changed wall, cells",
        ylabel="first step follows the change",
    )


def traps(result: RunResult) -> Chart | None:
    """How many events ahead its choices are right where shallower ones are wrong."""
    return curve(
        result,
        "trap-depth",
        lambda found: found.series.get(found.facts.get("goal", "")),
        name="traps",
        title="How many items it thinks ahead",
        xlabel="events that must be foreseen",
        ylabel="right choice minus trap",
    )


def scores(result: RunResult) -> Chart | None:
    """The three clauses of the definition of an optimizer."""
    found = [(n, v.optimizer) for n, v in named(result) if v.optimizer]
    if not found:
        return None
    styles = styles_of([n for n, _ in found])

    def unknown(field: str) -> str:
        missing = sum(getattr(r, field).score is None for _, r in found)
        if missing == len(found):
            return ": not enough evidence"
        return f": unknown in {missing} of {len(found)} runs" if missing else ""

    def paint(axes: Any) -> list[Key]:
        axes.set(xlim=(-0.03, 1.03), ylim=(len(CLAUSES) - 0.5, -0.75))
        axes.set_xlabel("score, calibrated on agents with a known answer")
        axes.axvline(STRONG, color=MUTED, lw=0.9, ls=LIMIT["dash"])
        _rows_named(axes, [text + unknown(field) for field, text in CLAUSES])
        for k, (name, report) in enumerate(found):
            shift = _shift(k, len(found))
            for i, (field, _) in enumerate(CLAUSES):
                score = getattr(report, field)
                _dot(axes, _estimate(score), i + shift, styles[name], across=True)
        keys = [legend_key(n, styles[n], marker=True) for n, _ in found]
        return [*keys, legend_key("counts as met", LIMIT)]

    def cell(report: Any, field: str) -> str:
        score = getattr(report, field)
        if score.score is None:
            return "not enough evidence"
        kinds = f"{score.coverage} kind{'s' * (score.coverage != 1)} of evidence"
        return f"{measure(_estimate(score), unit=False)}, {kinds}"

    rows = [("", *(n for n, _ in found))]
    rows += [(text, *(cell(r, field) for _, r in found)) for field, text in CLAUSES]
    alt = "Scores of the three clauses. " + "; ".join(
        f"{n}: " + ", ".join(f"{text} {cell(r, field)}" for field, text in CLAUSES)
        for n, r in found
    )
    return draw(
        "scores",
        "Is it an optimizer by the definition?",
        alt + ".",
        paint,
        rows=rows,
        size=(4.0, 2.9),
        left=LEFT,
    )


def _estimate(score: Score) -> Estimate:
    return Estimate(
        value=score.score, low=score.low, high=score.high, unit="score", levels=0
    )


def _dot(
    axes: Any, estimate: Estimate, place: float, style: dict[str, Any], across=False
) -> None:
    """A value with its interval, along the x axis if ``across``, else along y."""
    if estimate.value is None:
        return
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    ends, twice = [low, high], [place, place]
    axes.plot(*(ends, twice) if across else (twice, ends), color=style["color"], lw=1.5)
    point = ([estimate.value], [place]) if across else ([place], [estimate.value])
    axes.plot(
        *point,
        style["marker"],
        color=style["color"],
        ms=6,
        mec=PAPER,
        mew=0.8,
        zorder=4,
    )


def all_charts(result: RunResult) -> dict[str, Chart | None]:
    """Every chart of the instruments by its place; None where there is no data."""
    return {
        "goals": goals(result),
        "decomposition": decomposition(result),
        "follow": follow(result),
        "traps": traps(result),
        "scores": scores(result),
    }
