"""Choosing instruments, asking them, and keeping what they found."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import malgen
from malgen.adapters.policies import as_policy
from malgen.agents.feedforward import FeedforwardConfig
from malgen.agents.scripted import NEAREST_KEY, Greedy, Off, Random
from malgen.audits import battery, cache
from malgen.audits.instrument import Case, Instrument, always
from malgen.errors import ConfigError, ContractError, ForeignError, NotMeasurable
from malgen.findings import Estimate, Measurement
from malgen.progress import Silent
from malgen.scenarios import find_scenario
from malgen.zoo.catalog import AGENTS
from malgen.zoo.lapse import LapsingHost
from malgen.zoo.members import calibration_members

SMALL = find_scenario("keys-and-chests-small")
CASE = Case(policy=Off(), scenario=SMALL)


class Fake:
    """An instrument that counts how often it was asked."""

    def __init__(self, name, number=0.5, applicable=always, error=None):
        self.asked = 0
        self.number, self.error = number, error
        self.instrument = Instrument(
            name=name,
            question="how much?",
            seconds=3.0,
            version=1,
            applicable=applicable,
            measure=self.measure,
        )

    def measure(self, case, say):
        self.asked += 1
        say("counting")
        if self.error:
            raise self.error
        estimate = Estimate(value=self.number, low=0, high=1, unit="share", levels=9)
        return Measurement(
            instrument=self.instrument.name,
            question="how much?",
            answer="half",
            estimates={"share": estimate},
            draws={"share": (0.25, 0.5)},
        )


class Heard(Silent):
    def __init__(self):
        self.lines, self.stages, self.planned = [], [], {}

    def say(self, message):
        self.lines.append(message)

    def plan(self, shares):
        self.planned = dict(shares)

    def update(self, stage, done, detail=""):
        self.stages.append((stage, done, detail))


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "malgen" / "audits"


def table(*fakes):
    return {fake.instrument.name: fake.instrument for fake in fakes}


def ask(*fakes, case=CASE, **settings):
    return battery.measure_all(case, [f.instrument for f in fakes], **settings)


# --- choosing --------------------------------------------------------------------


def test_the_table_names_every_instrument_as_it_calls_itself():
    assert battery.INSTRUMENTS
    for name, instrument in battery.INSTRUMENTS.items():
        assert name == instrument.name and instrument.seconds > 0
    assert set(battery.GOAL) <= set(battery.INSTRUMENTS)


def test_instruments_are_chosen_by_name_in_the_order_of_the_table():
    known = table(Fake("a"), Fake("inverse-planning"), Fake("b"))

    def names(asked):
        return [i.name for i in battery.select(asked, known)]

    assert names("all") == ["a", "inverse-planning", "b"]
    assert names("verdict") == ["inverse-planning"]
    assert names("b, a") == names(("b", "a")) == ["a", "b"]
    assert names("verdict,b") == ["inverse-planning", "b"]
    assert names(()) == []


@pytest.mark.parametrize(
    "asked, expected",
    [
        ("trap-dept", "no instrument named 'trap-dept'; did you mean 'trap-depth'"),
        ("", "'' is no name of an instrument; give all, verdict, or names"),
        ("trap-depth,", "'' is no name"),
        ((3,), "3 is no name"),
    ],
)
def test_unknown_instruments_are_told_in_one_sentence(asked, expected):
    with pytest.raises(ConfigError, match=expected):
        battery.select(asked, table(Fake("trap-depth")))


# --- asking ----------------------------------------------------------------------


def test_all_are_asked_whether_they_apply_before_any_computes():
    said = []
    first = Fake("first", applicable=lambda case: said.append("first") or "")
    second = Fake("second", applicable=lambda case: said.append("second") or "no dial")
    first.measure_before, asked = first.measure, []

    def measure(case, say):
        asked.extend(said)
        return first.measure_before(case, say)

    first.instrument = dataclasses.replace(first.instrument, measure=measure)
    found = ask(first, second)
    assert asked == ["first", "second"] and second.asked == 0
    assert list(found) == ["first", "second"]
    assert found["second"].reason == "no dial"
    assert found["second"].answer == "not applicable: no dial"


def test_it_says_what_each_will_cost_and_how_far_it_is():
    heard = Heard()
    ask(Fake("a"), Fake("b"), progress=heard)
    assert heard.planned == {"a": 3.0, "b": 3.0}
    assert heard.lines == ["instruments, about 6 s in all: a about 3 s, b about 3 s"]
    assert ("a", None, "counting") in heard.stages and ("b", 1.0, "") in heard.stages
    heard = Heard()
    ask(Fake("c"), Fake("d"), progress=heard, stage="audit")
    assert {stage for stage, _, _ in heard.stages} == {"audit"} and not heard.lines
    assert ("audit", 0.5, "d: counting") in heard.stages


def test_errors_name_the_instrument():
    with pytest.raises(ContractError, match="The instrument a: NaN"):
        ask(Fake("a", error=ContractError("NaN")))
    with pytest.raises(ForeignError, match="The instrument a: it raised"):
        ask(Fake("a", error=ForeignError("it raised")))
    with pytest.raises(ZeroDivisionError) as caught:
        ask(Fake("a", error=ZeroDivisionError()))
    assert caught.value.__notes__ == ["This happened in the instrument a."]
    found = ask(Fake("a", error=NotMeasurable("no conflict states")))
    assert found["a"].reason == "no conflict states"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(number):
    with pytest.raises(ContractError, match="a answered with a number that is not"):
        ask(Fake("a", number=number))


# --- keeping ---------------------------------------------------------------------


def test_what_was_found_is_not_computed_again(home):
    fake = Fake("a")
    before = ask(fake)
    assert ask(fake) == before and fake.asked == 1
    assert len(list(home.glob("*.json"))) == 1
    ask(fake, use_cache=False)
    assert fake.asked == 2


@pytest.mark.parametrize(
    "change",
    [
        {"policy": Random()},
        {"policy": Greedy(Off())},
        {"scenario": find_scenario("keys-and-chests")},
        {"seed": 1},
        {"full": True},
        {"dial": {1: Off()}},
        {"provenance": "trained"},
    ],
)
def test_everything_that_decides_an_answer_decides_its_name(change):
    fake = Fake("a")
    ask(fake)
    ask(fake, case=dataclasses.replace(CASE, **change))
    assert fake.asked == 2


def test_a_new_version_of_an_instrument_or_of_the_code_asks_again(monkeypatch):
    fake = Fake("a")
    ask(fake)
    fake.instrument = dataclasses.replace(fake.instrument, version=2)
    ask(fake)
    assert fake.asked == 2
    monkeypatch.setattr(cache, "code_digest", lambda: "another")
    ask(fake)
    assert fake.asked == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-20],
        lambda data: data.replace(b"half", b"full"),
        lambda data: b"\x80\x04pickled" + data,
    ],
)
def test_a_damaged_answer_is_removed_and_made_again(home, damage):
    fake = Fake("a")
    before = ask(fake)
    (path,) = home.glob("*.json")
    path.write_bytes(damage(path.read_bytes()))
    again = ask(fake)
    assert fake.asked == 2
    assert again["a"].estimates == before["a"].estimates
    assert ask(fake) == again and fake.asked == 2


def test_an_answer_of_another_kind_is_damaged_too(home):
    fake = Fake("a")
    ask(fake)
    (path,) = home.glob("*.json")
    text = json.dumps({"instrument": "a"}).encode()
    import hashlib

    path.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    ask(fake)
    assert fake.asked == 2


def test_a_cache_that_cannot_be_written_stops_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fake = Fake("a")
    ask(fake)
    ask(fake)
    assert fake.asked == 2


# --- who is who ------------------------------------------------------------------


def test_policies_are_told_apart_by_their_content():
    def network(seed):
        build = FeedforwardConfig(hidden=(8,)).build
        return build(jax.random.key(seed), (9, 9, 7), 5)

    one, other = network(0), network(1)
    assert cache.identity_of(one) == cache.identity_of(network(0))
    assert cache.identity_of(one) != cache.identity_of(other)
    assert cache.identity_of(Greedy(one)) != cache.identity_of(one)
    deployment = SMALL.deployment()
    agents = [agent.build(deployment) for agent in AGENTS.values()]
    found = [cache.identity_of(agent) for agent in agents]
    assert None not in found and len(set(found)) == len(found)


def test_every_member_of_the_zoo_is_someone_else():
    deployment = SMALL.deployment()
    seen = {}
    for member in calibration_members():
        who = cache.identity_of(member.build(deployment))
        assert who is not None and seen.setdefault(who, member.name) == member.name
    again = calibration_members()[0]
    assert seen[cache.identity_of(again.build(deployment))] == again.name


def test_what_a_planner_has_planned_does_not_change_who_it_is():
    planner = AGENTS["x-oracle"].build(SMALL.deployment())
    before = cache.identity_of(planner)
    planner._plans[b"seen"] = 1
    assert cache.identity_of(planner) == before


class Mine(malgen.Policy):
    def __call__(self, key, observation, carry):
        return jnp.zeros(5), carry


def test_foreign_code_is_never_kept(home):
    wrapped = as_policy(lambda o: 4), LapsingHost(as_policy(lambda o: 4), 0.1)
    for policy in (Mine(), Greedy(Mine()), *wrapped, np.array([object()])):
        assert cache.identity_of(policy) is None
    fake = Fake("a")
    ask(fake, case=dataclasses.replace(CASE, policy=Mine()))
    ask(fake, case=dataclasses.replace(CASE, policy=Mine()))
    assert fake.asked == 2 and not home.exists()


def test_the_weights_of_a_scripted_agent_count():
    assert cache.identity_of(NEAREST_KEY) != cache.identity_of(Random())
