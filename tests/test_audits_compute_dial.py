from dataclasses import replace

import numpy as np
import pytest

from malgen.agents.scripted import NEAREST_KEY, Random
from malgen.audits.compute_dial import GATE, INSTRUMENT, Curve, decisions
from malgen.audits.instrument import Case, say_nothing
from malgen.errors import ContractError
from malgen.scenarios import SCENARIOS
from malgen.zoo.event_depth import EventDepth

SMALL = SCENARIOS["keys-and-chests-small"]


def measured(dial):
    values = list(dial)
    case = Case(policy=dial[values[-1]], scenario=SMALL, dial=dial)
    return INSTRUMENT.measure(case, say_nothing)


@pytest.mark.parametrize("goal", ["x", "keys"])
def test_a_real_dial_has_an_effect_that_distance_does_not_explain(goal):
    found = measured({k: EventDepth(goal=goal, depth=k) for k in (1, 3, 6)})
    assert found.facts["goal"] == goal
    assert found.facts["effect"] == "yes"
    assert found.estimates["effect"].low > GATE
    assert abs(found.estimates["effect alone"].value) < 0.02
    assert found.estimates["interaction"].low > 0
    assert found.estimates["trend"].low > 0
    assert {len(row) for row in found.draws.values()} == {200}


@pytest.mark.parametrize(
    "policy",
    [EventDepth(goal="x", depth=2), NEAREST_KEY, Random()],
    ids=["event-depth-2", "nearest-key", "random"],
)
def test_a_sham_dial_has_none(policy):
    found = measured({1: policy, 2: policy, 4: policy})
    assert found.facts["effect"] == "no"
    for name in ("effect", "interaction", "trend"):
        estimate = found.estimates[name]
        assert estimate.low <= 0 <= estimate.high


class Noisy(EventDepth):
    """Shaky choices that the dial does not change: its answers differ by luck."""

    salt: int = 0

    def act(self, rng, observations, carry):
        logits, carry = super().act(rng, observations, carry)
        luck = np.random.default_rng(self.salt).random(len(logits)) < 0.3
        return np.where(luck[:, None], 0.0, logits).astype(np.float32), carry


def test_luck_is_no_effect():
    dial = {}
    for salt in range(1, 7):
        dial[salt] = Noisy(goal="x", depth=3)
        dial[salt].salt = salt
    found = measured(dial)
    assert found.facts == found.facts | {"goal": "x", "effect": "no"}
    effect = found.estimates["effect"]
    # three times the interval: 1 in 10^8 for a correct build
    reach = effect.high - effect.low
    assert effect.low - reach <= 0 <= effect.high + reach
    assert effect.value < GATE


class Reach(EventDepth):
    """Goes to the nearest item if it is near enough: its dial only carries it far."""

    def __init__(self, reach):
        super().__init__(goal="keys", depth=1)
        self.reach = reach

    def act(self, rng, observations, carry):
        logits, carry = super().act(rng, observations, carry)
        rows, columns = np.indices(observations.shape[1:3])
        here = observations[..., 1]
        row = (here * rows).sum((1, 2))[:, None, None]
        column = (here * columns).sum((1, 2))[:, None, None]
        away = np.abs(rows - row) + np.abs(columns - column)
        near = (observations[..., 2] & (away <= self.reach)).any((1, 2))
        return np.where(near[:, None], logits, 0.0).astype(np.float32), carry


def test_what_only_carries_signals_farther_does_not_count():
    found = measured({reach: Reach(reach) for reach in (1, 4, 20)})
    assert found.estimates["effect alone"].low > 0.1
    assert found.estimates["effect"].high < GATE
    assert found.facts["effect"] == "no"


def test_without_a_dial_it_is_not_applicable():
    case = Case(policy=Random(), scenario=SMALL)
    assert "no dial" in INSTRUMENT.applicable(case)
    assert "single value" in INSTRUMENT.applicable(replace(case, dial={1: Random()}))
    with pytest.raises(ContractError, match="two or more"):
        INSTRUMENT.measure(case, say_nothing)


def test_alone_means_the_right_item_at_the_same_place():
    full, alone = decisions("x", SMALL.size, 0, False)
    keys, chests = (np.asarray(m) for m in (alone.levels.keys, alone.levels.chests))
    assert (keys.sum((1, 2)) <= 1).all() and (chests.sum((1, 2)) == 1).all()
    assert not (keys & ~np.asarray(full.levels.keys)).any()
    assert not (chests & ~np.asarray(full.levels.chests)).any()
    best = full.value >= full.value.max(1, keepdims=True) - 1e-9
    still = alone.value >= alone.value.max(1, keepdims=True) - 1e-9
    # walls and target are the same, only items in the way have gone
    assert (best & still).any(1).mean() > 0.9
    assert full.hard.any() and full.easy.any() and not (full.hard & full.easy).any()


def test_the_best_value_is_scored_on_the_other_half():
    gained = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    curve = Curve(gained, np.ones(4), np.ones((1, 4)))
    everywhere = np.ones(4, bool)
    # even levels say value 1 is better, odd ones see no difference
    assert curve.effect(everywhere, (0, 1))[0] == 0.0
    assert curve.effect(everywhere, (1, 1))[0] == 0.5
