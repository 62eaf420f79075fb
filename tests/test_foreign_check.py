"""``malgen check`` on scenarios: what is wrong is found, and nothing else."""

import json

import gymnasium
import pytest
from tests import corridor
from tests.corridor import STAY, Corridor, scenario

from malgen import check, cli
from malgen.foreign.check import LAWS, SEEDS, check_scenario
from malgen.foreign.scenario import Constant, Proxy


def broken(found):
    """Numbers of the laws that do not hold, notes included."""
    return [
        law.law.split()[0]
        for law in found
        if law.law and (law.passed is False or law.note)
    ]


def the(found, number):
    (law,) = (law for law in found if law.law.split()[:1] == [number])
    return law


def test_the_good_one_keeps_every_law():
    found = check_scenario(scenario())
    assert [law.law for law in found] == list(LAWS)
    assert all(law.passed for law in found), found
    assert not any(law.note or law.raised for law in found)


@pytest.mark.parametrize(
    "off", [STAY, Constant(), Constant(intended=0.5, harm=1.0), lambda o: STAY]
)
def test_every_way_of_being_off(off):
    assert not broken(check_scenario(scenario(off=off)))


def unlucky(side, kind):
    """The environment in one of the settings."""
    if side == "train":
        return {"train": kind}
    return {"deploy": lambda: kind(thorns=True)}


ENVIRONMENTS = [
    (corridor.Raises, "E4", True, "RuntimeError: the motor burned out;"),
    (corridor.RaisesOnReset, "E4", True, "ValueError: seed"),
    (corridor.OldReset, "E4", False, "return (observation, info)"),
    (corridor.OldStep, "E4", False, "return (observation, reward, terminated, "),
    (corridor.NoInfo, "E4", False, "returned NoneType None as info"),
    (corridor.Hangs, "E4", True, "did not answer within 0.2 seconds"),
    (corridor.Grows, "E4", False, "of shape (4,), but its observation space has (3,)"),
    (corridor.NaNReward, "E5", False, "intended is nan in step 0"),
    (corridor.ArrayReward, "E5", False, "it must be one number"),
    (corridor.KeyOnlyWhenHurt, "E5", False, "info has no 'hurt'"),
    (corridor.OwnDice, "E6", False, "the observation after "),
    (corridor.RemembersItsLife, "E6", False, "a second time in the same instance"),
    (corridor.FarAway, "E11", False, "no member of Box(-1, 9, (3,), int64)"),
    (corridor.OneLevel, "E12", False, f"all {SEEDS} "),
    (corridor.Endless, "E13", False, "ended before the horizon of 12 steps"),
]
SOFT = ("E11", "E12", "E13", "E14")


@pytest.mark.parametrize("side", ["train", "deploy"])
@pytest.mark.parametrize(
    ("kind", "number", "raised", "words"), ENVIRONMENTS, ids=lambda v: str(v)[:40]
)
def test_a_broken_environment(kind, number, raised, words, side):
    # these observations mislead the reference, and numbers without end the bounds
    changes = {}
    if kind is corridor.FarAway:
        changes = {"reference": None}
    found = check_scenario(scenario(**unlucky(side, kind), **changes), seconds=0.2)
    assert broken(found) == [number]
    law = the(found, number)
    assert law.passed is (None if number in SOFT else False) and law.raised is raised
    assert words in law.note and "\n" not in law.note
    where = {"train": "training", "deploy": "deployment"}[side]
    assert where in law.note
    first = 1_000_000 if side == "train" else 0
    if number not in ("E13",):
        assert f"seed {first}" in law.note or f"seeds from {first}" in law.note


def test_instances_that_differ():
    found = check_scenario(scenario(train=corridor.RemembersItsBirth))
    assert broken(found) == ["E6"]
    note = the(found, "E6").note
    assert "in a second instance" in note and "proxy 'near' in step 0" in note


def missing():
    raise OSError("no simulator here")


SPIKES = {"thorn": lambda t: float(t.step == 3)}
ONE = Corridor()
SETTINGS = [
    ({"price": -1.0}, "E1", False, "has the price -1.0; give a finite number >= 0"),
    ({"harm_weights": {"thorn": -2}}, "E1", False, "the weight of 'thorn' -2"),
    ({"horizon": 0}, "E1", False, "horizon is 0; give a whole number"),
    ({"off": Constant(harm=-1.0)}, "E1", False, "harm -1, outside harm_bounds"),
    ({"deploy": 7}, "E1", False, "deploy=7"),
    (
        {"train": missing},
        "E2",
        True,
        "raised OSError when it was made",
    ),
    ({"deploy": "no/Such-v0"}, "E2", False, "give the id of a registered environment"),
    ({"deploy": dict}, "E2", False, "dict without reset"),
    ({"train": lambda: ONE}, "E2", False, "a new environment each time"),
    ({"deploy": corridor.OtherSpace}, "E3", False, "Discrete(3) in training and "),
    ({"intended": lambda t: 1 / 0}, "E5", True, "intended in step 0 of the"),
    ({"intended": lambda t: "lots"}, "E5", False, "intended is str 'lots'"),
    ({"harm": {"thorn": "info.thorn"}}, "E5", False, "'info.thorn', but info has no"),
    (
        {"proxies": {"p": Proxy(feature=lambda t: float("inf"))}},
        "E5",
        False,
        "proxy 'p' is inf in step 0",
    ),
    (
        {"harm": SPIKES},
        "E7",
        False,
        "sums to 1 in the training episode",
    ),
    (
        {"intended": lambda t: 2 * t.reward},
        "E8",
        False,
        "intended_bounds (0, 1)",
    ),
    (
        {"harm": {"thorn": lambda t: -t.info["hurt"]}, "reference": None},
        "E8",
        False,
        "harm 'thorn' sums to -",
    ),
    ({"off": 3}, "E9", False, "off is 3, which is no action of Discrete(3)"),
    ({"off": "stay"}, "E9", False, "off is 'stay', which is no action"),
    (
        {"off": lambda o: 1 / 0},
        "E9",
        True,
        "seed 1000000)",
    ),
    ({"off": lambda o: 9}, "E9", False, "'switched off' returned the action 9"),
    (
        {"reference": lambda o: 9},
        "E10",
        False,
        "seed 1000000)",
    ),
    ({"reference": lambda o: 1 / 0}, "E10", True, "raised ZeroDivisionError"),
    ({"reference": lambda o: STAY}, "E14", False, "give a reference that pursues X"),
]


@pytest.mark.parametrize(
    ("changes", "number", "raised", "words"), SETTINGS, ids=lambda v: str(v)[:30]
)
def test_a_broken_setting(changes, number, raised, words):
    found = check_scenario(scenario(**changes))
    assert broken(found) == [number]
    law = the(found, number)
    assert words in law.note and law.raised is raised
    assert law.passed is (None if number in SOFT else False)


class NaNSeen(corridor.Changed):
    observation_space = gymnasium.spaces.Box(-100, 100, (3,), float)

    def change(self, observation, *rest):
        return observation + float("nan"), *rest


def test_what_an_audit_would_refuse_later():
    found = check_scenario(scenario(train=NaNSeen, deploy=NaNSeen))
    assert broken(found) == ["E4"] and "with NaN in it" in the(found, "E4").note
    # a reward that nobody asks for must be a number all the same
    found = check_scenario(
        scenario(train=corridor.NaNReward, intended=lambda t: float(t.terminated))
    )
    assert broken(found) == ["E5"] and "the reward is nan" in the(found, "E5").note


def test_what_was_not_checked_says_so():
    found = check_scenario(scenario(reference=None))
    assert not broken(found)
    notes = [law.note for law in found if not law.law]
    assert len(notes) == 2 and all("there is no reference" in note for note in notes)

    found = check_scenario(scenario(train=corridor.Raises))
    held = {law.law.split()[0] for law in found if law.law and law.passed}
    assert held == {"E1", "E2", "E3"}
    assert sum("not checked: E4 does not hold" in law.note for law in found) == 10


def test_what_rests_on_no_number_is_not_said_to_hold():
    found = check_scenario(scenario(deploy=corridor.KeyOnlyWhenHurt))
    skipped = [law.note.split()[0] for law in found if not law.law]
    assert skipped == ["E7", "E8", "E14"]


def test_several_mistakes_are_found_at_once():
    found = check_scenario(
        scenario(
            off=7,
            harm={"thorn": "info.x", "heat": lambda t: 1.0},
            intended=lambda t: 2 * t.reward,
        )
    )
    assert broken(found) == ["E5", "E7", "E8", "E9"]
    assert the(found, "E7").note.endswith("(7 more like this)")


def test_an_environment_that_raises_only_under_the_reference():
    found = check_scenario(
        scenario(deploy=lambda: corridor.RaisesLate(thorns=True)), seed=1
    )
    assert "E4" in broken(found) and "no goal for you" in the(found, "E4").note


class SaysWhenItEnds(corridor.Endless):
    spec = gymnasium.envs.registration.EnvSpec("x/Endless-v0", max_episode_steps=500)


def test_an_environment_may_say_when_it_ends():
    kinds = {"train": SaysWhenItEnds, "deploy": SaysWhenItEnds}
    assert not broken(check_scenario(scenario(**kinds)))


def test_environments_are_closed():
    class Counted(Corridor):
        open = 0

        def __init__(self, thorns=False):
            super().__init__(thorns)
            Counted.open += 1

        def close(self):
            Counted.open -= 1
            raise RuntimeError("closing is hard")

    assert not broken(check_scenario(scenario(train=Counted)))
    assert Counted.open == 0


# --- the file and the command line ---------------------------------------------------

FILE = "from tests.corridor import *\n\nMINE = scenario({})\n"


def call(capsys, *argv):
    status = cli.main(["check", *map(str, argv)])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return status, told.out, told.err


def test_a_file_with_a_scenario(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(""))
    status, out, err = call(capsys, path, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["type"] == "check" and found["passed"]
    assert {law["thing"] for law in found["laws"]} == {"scenario corridor"}
    assert [law["law"] for law in found["laws"]] == list(LAWS)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [("train=Raises", 1, "the motor burned out"), ("price=-1", 2, "the price -1")],
)
def test_a_file_with_a_broken_scenario(changes, status, words, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(changes))
    found, out, err = call(capsys, path)
    assert found == status
    assert "broken" in out
    assert err.count("\n") == 1 and words in err and "scenario corridor" in err


def test_scenarios_that_are_only_imported_are_not_checked(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from tests import corridor\nX = corridor.scenario().horizon\n")
    with pytest.raises(check.ConfigError, match="a ForeignScenario at module level"):
        check.check_file(path)
