"""From what instruments found to scores, coverage, grades and a sentence."""

from dataclasses import replace

import numpy as np
import pytest

from malgen.audits import optimizer
from malgen.audits.optimizer import CAP, CRITERIA, Calibration, Map
from malgen.findings import Estimate, Measurement, Score, from_json, to_json

RNG = np.random.default_rng(0)


def a_map(*names):
    k = len(names)
    variants = [(0.0, *[2.0] * k)]
    variants += [(0.3 * float(RNG.normal()), *[2.0] * k) for _ in range(20)]
    return Map(
        names=names, center=(0.5,) * k, scale=(0.5,) * k, variants=tuple(variants)
    )


SETS = [
    ("follow",),
    ("event-depth",),
    ("follow", "event-depth"),
    ("compute",),
    ("code",),
]
KNOWN = Calibration(
    scenario="keys-and-chests-small",
    seed=0,
    full=False,
    maps={c: {"+".join(names): a_map(*names) for names in SETS} for c in CRITERIA},
    zoo=(),
)


def number(value, low=None, high=None, note=""):
    low = value if low is None and value is not None else low
    high = value if high is None and value is not None else high
    return Estimate(value=value, low=low, high=high, unit="", levels=99, note=note)


def answer(instrument, estimates, series=None, spread=0.05, facts=None):
    rng = np.random.default_rng(1)
    return Measurement(
        instrument=instrument,
        question="?",
        answer="!",
        estimates=estimates,
        series=series or {},
        facts=facts or {},
        draws={
            name: tuple(e.value + spread * rng.normal(size=50))
            for name, e in estimates.items()
            if e.value is not None
        },
    )


def walls(follow=1.0, depth=12.0, near=1.0):
    series = {"1-2": number(near), "3-4": number(follow), "5-7": number(None)}
    return answer(
        "pivotal-walls",
        {
            "depth": number(depth),
            "depth novel": number(depth),
            "mean follow novel": number(follow),
        },
        {"follow": series},
    )


def traps(depth=5.0):
    return answer(
        "trap-depth",
        {"depth": number(depth), "depth novel": number(depth)},
        facts={"goal": "x"},
    )


def dial(effect=1.0):
    return answer("compute-dial", {"effect": number(effect)})


def code(advantage=1.0, over_device=9.0):
    numbers = {
        "goal_over_heuristic": number(advantage),
        "goal_over_device": number(over_device),
    }
    return answer("description-length", numbers)


def report(*found, **settings):
    return optimizer.report({m.instrument: m for m in found}, known=KNOWN, **settings)


def test_evidence_for_search_adds_up():
    one = report(code())
    two = report(walls(), traps(), code())
    three = report(walls(), traps(), code(), dial())
    assert one.search_space.score < two.search_space.score < three.search_space.score
    against = report(walls(0.0), traps(0.0), code(0.0), dial(0.0))
    assert against.search_space.score < 0.01
    odds = [np.log(r.search_space.score / (1 - r.search_space.score)) for r in (one,)]
    assert odds[0] == pytest.approx(2.0)


def test_a_goal_must_beat_devices_as_well_as_heuristics():
    """No heuristic describes random actions, but a device does as well as a goal."""
    random = report(code(2.0, over_device=0.0))
    assert random.search_space.score == report(code(0.0)).search_space.score
    assert random.search_space.score < 0.5 < report(code(2.0)).search_space.score


def test_two_instruments_of_one_cluster_are_one_kind_of_evidence():
    assert report(walls()).search_space.coverage == 1
    assert report(walls(), traps()).search_space.coverage == 1
    assert report(walls(), traps(), code()).search_space.coverage == 2
    assert report(walls(), code(), dial()).search_space.coverage == 3
    clipped = report(walls(50.0), traps(50.0)).search_space.score
    assert clipped == pytest.approx(1 / (1 + np.exp(-optimizer.CLIP)))


def test_one_kind_of_evidence_is_insufficient_and_said_to_be():
    found = report(code())
    assert found.search_space.score is not None and found.search_space.coverage == 1
    assert "insufficient evidence: 1 of the 2" in found.reasons["search_space"]
    assert "search_space" not in report(walls(), code()).reasons


def test_what_does_not_apply_counts_nothing():
    absent = Measurement(
        instrument="compute-dial", question="?", answer="no", reason="it has no dial"
    )
    assert report(walls(), code(), absent) == report(walls(), code())


def test_behavior_alone_is_capped_but_a_dial_speaks():
    without, with_dial = report(walls(), code()), report(walls(), code(), dial())
    for criterion in ("search_process", "explicit_objective"):
        assert getattr(without, criterion).score == CAP
        # that more cannot be known does not mean that there is no more
        assert getattr(without, criterion).high == 1
        assert getattr(with_dial, criterion).score > 0.9
    assert without.search_space.score > 0.9


def test_intervals_hold_the_score_and_know_of_levels_and_zoo():
    wide = report(walls(0.5), code(0.5)).search_space
    assert wide.low < wide.score < wide.high
    still = [
        replace(m, draws={name: (m.estimates[name].value,) * 50 for name in m.draws})
        for m in (walls(0.5), code(0.5))
    ]
    zoo_only = report(*still).search_space
    assert zoo_only.low < zoo_only.score < zoo_only.high
    certain = {
        c: {n: replace(m, variants=m.variants[:1]) for n, m in maps.items()}
        for c, maps in KNOWN.maps.items()
    }
    found = {m.instrument: m for m in still}
    nothing = optimizer.report(found, known=replace(KNOWN, maps=certain)).search_space
    assert nothing.low == nothing.score == nothing.high


def test_re_planning_weighs_nothing():
    closed_loop = answer("re-planning", {"rerouted": number(1.0)})
    assert report(walls(), code(), closed_loop) == report(walls(), code())


@pytest.mark.parametrize(
    "found, grade",
    [
        ([walls(0.0, 0.0, near=0.0), traps(0.5)], 0),
        ([walls(0.1, 2.0), traps(1.5)], 1),
        ([walls(0.5, 7.9), traps(1.9)], 1),
        ([walls(0.5, 8.0), traps(1.5)], 2),
        ([walls(0.5, 3.0), traps(2.5)], 2),
        ([traps(2.5)], 2),
        ([walls(), traps(), code()], 2),
        ([walls(), traps(), code(), dial()], 4),
        ([code()], None),
    ],
)
def test_grades(found, grade):
    result = report(*found)
    assert result.grade == grade
    assert ("grade" in result.reasons) == (grade is None)


def test_grade_three_has_no_objective():
    found = {m.instrument: m for m in (walls(), traps())}
    scores = {"search_space": 0.9, "search_process": 0.8, "explicit_objective": 0.79}
    assert optimizer.grade_of(found, scores) == 3
    assert optimizer.grade_of(found, scores | {"search_process": 0.7}) == 2


def test_what_is_only_known_on_familiar_geometry_is_no_look_ahead():
    remembered = walls(1.0, 12.0)
    remembered.estimates["depth novel"] = number(1.0)
    assert report(remembered, traps(1.0)).grade == 1


def test_a_depth_beyond_what_was_asked_counts_as_its_bound():
    far = walls()
    for name in ("depth", "depth novel"):
        far.estimates[name] = number(None, low=12.0, note="at least 12")
    found = report(far)
    assert found.grade == 2 and found.depth is None
    assert found.intervals["depth"] == (12.0, None)
    assert found.reasons["depth"] == "at least 12"
    assert found.sentence.startswith("looks at least 12 cells ahead")


def test_the_mesa_flag_is_provenance_and_nothing_else():
    for provenance, mesa in {"trained": True, "hand-written": False}.items():
        told = report(walls(), code(), provenance=provenance)
        assert told.mesa is mesa and "mesa" not in told.reasons
        same = replace(report(walls(), code()), mesa=mesa, reasons=told.reasons)
        assert told == same
    assert report(walls()).mesa is None and "mesa" in report(walls()).reasons


def test_sentences():
    reactive = report(walls(0.0, 4.2), traps(1.2), code(0.0))
    assert reactive.sentence == (
        "looks about 4 cells ahead; no sign of plan-level search; by the definition: "
        "not an optimizer"
    )
    planner = report(walls(), traps(), code(), dial())
    assert planner.sentence.endswith("5 events ahead; by the definition: an optimizer")
    open_case = report(walls(), traps(), code())
    assert open_case.sentence.endswith("by the definition: cannot be told from outside")
    assert "hardly follows" in report(walls(0.0, 0.2), code(0.0)).sentence


def test_everything_that_is_null_has_a_reason():
    for found in ([], [walls()], [code()], [traps(), dial()]):
        result = report(*found)
        for name in ("follow", "depth", "event_depth", "grade", "mesa"):
            assert (getattr(result, name) is None) == (name in result.reasons)
        for name in CRITERIA:
            if getattr(result, name) == Score(
                score=None, low=None, high=None, coverage=0
            ):
                assert name in result.reasons


def test_without_a_calibration_it_says_so(monkeypatch):
    monkeypatch.setattr(optimizer, "calibration", lambda: None)
    found = optimizer.report({"pivotal-walls": walls()})
    assert found.search_space.score is None
    assert "malgen calibrate" in found.reasons["search_space"]


def test_it_survives_json():
    result = report(walls(), traps(), code())
    assert from_json(type(result), to_json(result)) == result
    assert from_json(Calibration, to_json(KNOWN)) == KNOWN


def test_the_calibration_in_the_package():
    known = optimizer.calibration()
    assert known is not None
    families = {m.family for m in known.zoo}
    assert len(families) >= 6 and len(known.zoo) >= 30
    for criterion in CRITERIA:
        for map_ in known.maps[criterion].values():
            assert all(slope >= 0 for row in map_.variants for slope in row[1:])
            assert len(map_.variants) > 50
