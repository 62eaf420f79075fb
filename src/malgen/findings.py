"""Numbers that cross a file boundary: estimates, findings and verdicts.

Frozen standard-library dataclasses, validated by pydantic when they are read
back. A number never travels without its interval, its unit and its n.
"""

import json
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

RULE_VERSION = "2"

UNCERTIFIED = "levels not certified"
"""Flag of a verdict on levels that were not certified."""

LABELS = (
    "aligned-robust",
    "capability-failure",
    "partial-capability-loss",
    "benign-misgeneralization",
    "malign-generalization",
    "harmful-incompetence",
    "malign-outcome",
    "shortfall",
    "objective-unsafe",
    "not-trained",
    "undetermined",
)

MALIGN_ANY = ("malign-generalization", "malign-outcome", "harmful-incompetence")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number with its interval.

    Attributes:
        value: the point estimate; None when it is unbounded or not defined.
        low: lower end of the interval; None when unbounded below.
        high: upper end of the interval; None when unbounded above.
        unit: what the number counts (chests, probability, steps, ratio, ...).
        levels: how many levels it rests on.
        runs: how many independent training runs it rests on.
        confidence: nominal two-sided coverage of [low, high].
        method: how the interval was made.
        note: why an end is missing, or how to read the number.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str
    levels: int
    runs: int = 1
    confidence: float = 0.95
    method: str = ""
    note: str = ""

    def __str__(self) -> str:
        def show(x: float | None, missing: str) -> str:
            return missing if x is None else f"{x:.3g}"

        if self.value is None and self.low is None and self.high is None:
            return self.note or "not defined"
        return (
            f"{show(self.value, 'unbounded')} "
            f"[{show(self.low, '-inf')}, {show(self.high, 'inf')}]"
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One question and its answer, or why it could not be answered.

    Attributes:
        question: what was asked, in one sentence.
        answer: the answer in one sentence; starts with "not measured" if so.
        passed: True or False for a gate, None for information.
        estimates: the numbers behind the answer, by name.
        caveats: what a reader must know before relying on it.
        source: paper or section the instrument comes from.
    """

    name: str
    question: str
    answer: str
    passed: bool | None = None
    estimates: dict[str, Estimate] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one instrument found out about one policy.

    Attributes:
        instrument: its name.
        question: what was asked, in one sentence.
        answer: the answer in one sentence; starts with "not applicable" if so.
        reason: why it is not applicable; "" if it was measured.
        estimates: the single numbers, by name.
        series: numbers along bins, for charts and tables: name -> bin -> estimate
            ("follow" -> "5-7" -> ...). Bins are in order.
        facts: short words behind the answer, by name (a class, a model).
        draws: name of a statistic -> its values in resamples of the levels; equally
            long for all statistics of one instrument, so that they stay joint.
        caveats: what a reader must know before relying on it.
        source: paper or section the instrument comes from.
        seconds: what it took.
    """

    instrument: str
    question: str
    answer: str
    reason: str = ""
    estimates: dict[str, Estimate] = field(default_factory=dict)
    series: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    draws: dict[str, tuple[float, ...]] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    source: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class GoalReport:
    """What it pursues, as far as behavior can tell.

    Attributes:
        asserted: class of the goal, or None when no goal or no single one can be
            asserted.
        ambiguous: the classes between which the evidence does not decide.
        posterior: class -> probability, bagged over levels.
        device: probability that it is a device without a goal.
        explained_fraction: share of what can be explained of its choices that the
            best goal does explain, <= 1.
        instrumental_fraction: 1 when keys are wanted only for what they open, 0 when
            for their own sake.
        intervals: name of a number above -> its [low, high].
        reasons: name of a field that is None -> why.
        sentence: all of it in plain words.

    Source: measurement.md 3.
    """

    asserted: str | None
    ambiguous: tuple[str, ...]
    posterior: dict[str, float] | None
    device: float | None
    explained_fraction: float | None
    instrumental_fraction: float | None
    intervals: dict[str, tuple[float | None, float | None]]
    reasons: dict[str, str]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """How far one clause of the definition of an optimizer holds.

    Attributes:
        score: probability in [0, 1], calibrated on agents whose answer is known.
        low: lower end of the interval.
        high: upper end.
        coverage: how many independent kinds of evidence spoke.
    """

    score: float | None
    low: float | None
    high: float | None
    coverage: int


@dataclass(frozen=True, kw_only=True)
class OptimizerReport:
    """Does it take an optimizer inside, as far as behavior can tell?

    Attributes:
        search_space: candidates that it does not take are held.
        search_process: candidates are compared or refined.
        explicit_objective: an objective apart from perception.
        follow: distance bin -> how surely the first action follows a change of the
            best path at that distance.
        depth: distance in cells at which ``follow`` crosses one half.
        event_depth: events that it looks ahead.
        grade: 0 reactive, 1 controller, 2 functional planner, 3 internal search,
            4 search with an explicit objective.
        mesa: whether a base optimizer selected it (provenance, not a measurement).
        intervals: name of a number above -> its [low, high].
        reasons: name of a field that is None -> why.
        sentence: all of it in plain words.

    Source: measurement.md 4.
    """

    search_space: Score
    search_process: Score
    explicit_objective: Score
    follow: dict[str, float] | None
    depth: float | None
    event_depth: float | None
    grade: int | None
    mesa: bool | None
    intervals: dict[str, tuple[float | None, float | None]]
    reasons: dict[str, str]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """Where 95% of the bootstrap points of (capability, alignment) lie, as a normal.

    Attributes:
        center: (C, G).
        axes: half lengths of its two axes, the longer first.
        angle: of the longer axis against the capability axis, radians.
    """

    center: tuple[float, float]
    axes: tuple[float, float]
    angle: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a policy stands in the plane of capability and alignment.

    Attributes:
        capability: C, 0 random and 1 best possible.
        alignment: G: 1 for a goal as good as X, 0 as good as switched off, below 0
            malign. Where no goal is asserted, E[z] / E[x] of the policy itself.
        ellipse: their joint 95% region; None if one of them is not there.
    """

    capability: Estimate | None
    alignment: Estimate | None
    ellipse: Ellipse | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """How well capability and alignment survive deployment.

    For plots, alignments are clipped to [-5, 1.05]; the numbers here are not.

    Attributes:
        goal: the asserted goal; None when the goal term is not defined.
        surrogate: True when no goal is asserted, so that the alignments are those of
            the behavior and not of a goal (to be drawn as an open marker).
        deploy: where it stands in deployment.
        train: the same on training levels; None if not measured.
        goal_term: z of the exact optimizer of the asserted goal, chest-equivalents.
        competence_term: z of the policy minus that; positive where its mistakes
            protect. The two add up to z exactly, on each level.
        optimizers: goal -> z of its exact optimizer, chest-equivalents.
        capability_ratio: C in deployment over C in training.
        alignment_ratio: G in deployment over G in training.
        malignity: -E[z] / E[x]: above 0 malign, -1 as good as the X-oracle.
        reasons: name of a field that is None -> why.

    Source: measurement.md 2.2, 2.3.
    """

    goal: str | None
    surrogate: bool
    deploy: Place
    train: Place | None
    goal_term: Estimate | None
    competence_term: Estimate | None
    optimizers: dict[str, Estimate]
    capability_ratio: Estimate | None
    alignment_ratio: Estimate | None
    malignity: Estimate | None
    reasons: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class MalignWindow:
    """Prices of harm at which X itself is safe and the policy is worse than off.

    Attributes:
        low: critical stakes of the policy; above it off is preferred. None: unbounded.
        high: critical stakes of the worst-tie X-oracle. None: unbounded or no oracle.
        width_log10: log10(high / low) when both are finite and positive.
        empty: True when no price makes the policy malign and X safe; None if
            there is no X-reference.
    """

    low: float | None
    high: float | None
    width_log10: float | None
    empty: bool | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean utility along a dose, with pointwise intervals.

    Attributes:
        name: what varies.
        x: doses, increasing.
        mean: mean utility at each dose, chest-equivalents.
        low: lower pointwise ends.
        high: upper pointwise ends.
    """

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LevelValue:
    """What the policy brought about on one level.

    Attributes:
        level: its id: a content hash, or the seed in a foreign environment.
        value: utility over switched off, intended units.
    """

    level: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The conclusion for one policy, with every number it rests on.

    Labels and rules: measurement.md section 1.6 (``docs/verdict.md``). Utilities
    are in chest-equivalents; z, x and d are means over levels of the differences
    to the switched-off system (d: policy minus (1 - eta) times the X-oracle).
    ``greedy`` is z of the policy when it always takes its likeliest action; it decides
    nothing and is None if that was not run. ``worst`` are the levels of lowest value,
    the lowest first. ``goal`` is None when it was not inferred;
    ``latent`` is then None too, as it is when no single goal is asserted.
    """

    label: str
    sentence: str
    malign_outcome: bool | None
    latent: bool | None
    competent_harm: bool | None
    goal: GoalReport | None
    price: float
    z: Estimate
    greedy: Estimate | None
    x: Estimate | None
    d: Estimate | None
    random_gap: Estimate | None
    intended: Estimate
    harm: Estimate
    train_fraction: Estimate | None
    capability: Estimate | None
    alignment: Estimate | None
    critical_stakes: Estimate
    reference_stakes: Estimate | None
    malign_window: MalignWindow
    off_switch_value: Estimate | None
    off_switch_time: int | None
    malign_rate: Estimate
    cvar: Estimate
    curves: tuple[Curve, ...]
    because: tuple[Finding, ...]
    flags: tuple[str, ...]
    next_step: str
    levels: int
    needed_levels: int | None
    alpha: float
    eta: float
    delta: float | None
    engine: str
    optimizer: OptimizerReport | None = None
    robustness: Robustness | None = None
    instruments: tuple[Measurement, ...] = ()
    worst: tuple[LevelValue, ...] = ()
    rule_version: str = RULE_VERSION

    def to_json(self) -> str:
        """This verdict as one JSON object (RFC 8259: no NaN, no infinity)."""
        return to_json(self)

    def __str__(self) -> str:
        rows = [
            ("value over switched off, per level", self.z),
            ("the same with its likeliest actions", self.greedy),
            ("value X itself brings (worst ties)", self.x),
            (f"intended outcome, {self.intended.unit}", self.intended),
            (f"harm done, {self.harm.unit}", self.harm),
            ("critical stakes", self.critical_stakes),
            ("capability", self.capability),
            ("value of the off-switch", self.off_switch_value),
            ("share of levels worse than off", self.malign_rate),
        ]
        body = "\n".join(f"  {n}: {e}" for n, e in rows if e is not None)
        return f"{self.sentence}\n{body}\n  next: {self.next_step}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What several training seeds together license us to say.

    Attributes:
        malign: k, seeds whose verdict has malign_outcome True.
        seeds: R, seeds that passed the train gate.
        share: k/R with its exact (Clopper-Pearson) interval.
        not_trained: seeds left out because they failed the train gate.
        mean_z: mean of z over seeds and levels with a crossed interval.
        sentence: the claim, no stronger than the interval.
    """

    malign: int
    seeds: int
    share: Estimate | None
    not_trained: tuple[int, ...]
    mean_z: Estimate | None
    sentence: str


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def finite(value: float | None) -> float | None:
    """The number if it is finite, else None (JSON has no infinity)."""
    return None if value is None or not math.isfinite(value) else float(value)


def known(value: float | None) -> float:
    """A number that is there by construction, such as a mean of finite numbers."""
    assert value is not None
    return value


def low_end(estimate: Estimate) -> float:
    """Lower end of the interval; minus infinity when unbounded below."""
    return -math.inf if estimate.low is None else estimate.low


def high_end(estimate: Estimate) -> float:
    """Upper end of the interval; infinity when unbounded above."""
    return math.inf if estimate.high is None else estimate.high


def to_json(thing: object, *, indent: int | None = 2) -> str:
    """A dataclass as JSON text with stable key order."""
    return _adapter(type(thing)).dump_json(thing, indent=indent).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """A validated dataclass from JSON text.

    Raises:
        pydantic.ValidationError: with the path of every field that is off or unknown.
        ValueError: a number that is not finite; ``ValidationError`` is one too.
    """
    found = _adapter(kind).validate_json(text, extra="forbid")
    # pydantic takes NaN and 1e999 where JSON has no such numbers
    json.loads(text, parse_constant=_refuse, parse_float=_finite_number)
    return found


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def _finite_number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)
