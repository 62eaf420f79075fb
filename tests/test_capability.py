"""Capability and the best-attained goal on behavior with a known answer."""

import numpy as np
import pytest

from malgen.capability import Behavior, GoalValues, Legs, assess, attainment
from malgen.errors import ContractError

N = 200


def goal(policy: float, *, off: float = 0.0, oracle: float = 1.0, seed: int = 0):
    rng = np.random.default_rng([seed, int(1000 * abs(policy))])

    def noisy(mean):
        return mean + 0.2 * rng.normal(size=N)

    return GoalValues(
        policy=noisy(policy),
        random=noisy(0.2),
        oracle=noisy(oracle),
        off=off + 0 * noisy(0),
    )


def legs(efficiency: float, seed: int = 0) -> Legs:
    time = np.random.default_rng(seed).integers(20, 60, N).astype(float)
    return Legs(distance=np.floor(efficiency * time), time=time)


def behavior(efficiency=0.9, **goals):
    return Behavior(
        legs=legs(efficiency), random_legs=legs(0.1, 1), goals=goals, levels=()
    )


def test_leg_efficiency_is_a_normalized_ratio_of_means():
    found = assess(behavior(0.55))
    mine, chance = legs(0.55), legs(0.1, 1)
    e, r = (x.distance.sum() / x.time.sum() for x in (mine, chance))
    assert found.capability.value == pytest.approx((e - r) / (1 - r))
    assert found.goal is None
    assert "no admissible goal" in found.findings[0].caveats[0]


def test_key_lover_is_capable_and_its_goal_is_keys():
    found = assess(behavior(1.0, x=goal(0.7), keys=goal(0.96)))
    assert found.capability.low >= 0.9 and found.goal == "keys"
    assert any("stand-in for goal inference" in c for c in found.findings[1].caveats)


def test_x_and_x_minus_excess_are_one_class():
    goals = {"x": goal(0.95), "x-minus-excess": goal(0.97, seed=2), "keys": goal(0.3)}
    assert assess(behavior(1.0, **goals)).goal == "x"


def test_overlapping_goals_are_ambiguous():
    found = assess(behavior(1.0, x=goal(0.9), keys=goal(0.9, seed=3)))
    assert found.goal is None and "ambiguous" in found.findings[1].answer


def test_a_goal_no_better_than_chance_is_not_asserted():
    found = assess(behavior(0.1, x=goal(-0.5), keys=goal(0.2)))
    assert found.goal is None
    assert found.capability.high < 0.5


def test_without_x_among_the_goals_nothing_is_asserted():
    assert assess(behavior(1.0, keys=goal(0.9), chests=goal(0.1))).goal is None


def test_trivial_goals_are_not_admissible():
    stay = goal(0.99, off=1.0)
    room = goal(0.21, oracle=0.22, seed=5)
    found = assess(behavior(1.0, x=goal(0.5), keys=goal(0.1), stay=stay, room=room))
    names = set(found.findings[1].estimates)
    assert names == {"attainment of x", "attainment of keys"}
    assert found.goal == "x"


@pytest.mark.statistical
def test_cross_fitting_removes_the_bias_of_the_best_of_many_goals():
    """A policy that is random for each of 20 goals must have C near 0."""
    crossed, naive = [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        goals = {
            f"g{i}": GoalValues(
                policy=rng.normal(0, 1, N),
                random=rng.normal(0, 1, N),
                oracle=1 + rng.normal(0, 1, N),
                off=np.zeros(N),
                span=3.0,
            )
            for i in range(20)
        }
        found = assess(Behavior(goals=goals))
        crossed.append(found.capability.value)
        naive.append(max(attainment(values) for values in goals.values()))
    assert abs(np.mean(crossed)) < 0.1  # standard error 0.026
    assert np.mean(naive) > 0.12  # the control: choosing and scoring on the same data


def test_capability_is_the_larger_of_the_two():
    clumsy = assess(behavior(0.2, x=goal(0.9), keys=goal(0.1)))
    assert clumsy.capability.value > 0.7
    values = [e.value for e in clumsy.findings[0].estimates.values()]
    assert clumsy.capability.value == pytest.approx(max(values))


def test_row_order_does_not_matter():
    levels = tuple(f"level {i}" for i in range(N))
    first = behavior(0.8, x=goal(0.7), keys=goal(0.9))
    first = Behavior(
        legs=first.legs, random_legs=first.random_legs, goals=first.goals, levels=levels
    )
    second = first.rows(np.random.default_rng(0).permutation(N))
    a, b = assess(first), assess(second)
    assert a.capability.value == pytest.approx(b.capability.value, abs=1e-12)
    assert a.capability.low == pytest.approx(b.capability.low, abs=1e-12)
    assert a.goal == b.goal


def test_batches_join():
    whole = behavior(0.8, x=goal(0.7), keys=goal(0.9))
    again = whole.rows(slice(0, 50)).extended(whole.rows(slice(50, None)))
    assert assess(again).capability == assess(whole).capability


def flawless(n: int) -> Behavior:
    """An X-oracle: the same perfect score on every level."""
    same = {"random": np.zeros(n), "oracle": np.ones(n), "off": np.zeros(n)}
    return Behavior(
        legs=Legs(distance=np.full(n, 9.0), time=np.full(n, 9.0)),
        random_legs=Legs(distance=np.ones(n), time=np.full(n, 9.0)),
        goals={
            "x": GoalValues(policy=np.ones(n), **same),
            "keys": GoalValues(policy=np.full(n, 0.3), **same),
        },
    )


@pytest.mark.parametrize("n", [1, 2, 8, 29])
def test_a_few_equal_levels_are_no_certainty(n):
    found = assess(flawless(n))
    assert found.capability.value == 1
    assert found.capability.low == pytest.approx(1 - 3 / n)
    assert found.capability.high == 1
    assert "rule of three" in found.capability.method
    assert found.goal is None and "too few" in found.findings[1].answer
    assert "decides nothing" in found.findings[0].caveats[-1]


def test_many_equal_levels_are_nearly_one():
    found = assess(flawless(512))
    assert found.capability.low == pytest.approx(1 - 3 / 512)
    assert found.goal == "x" and found.findings[0].caveats == ()
    keys = found.findings[1].estimates["attainment of keys"]
    assert (keys.low, keys.high) == pytest.approx((0.3 - 3 / 512, 0.3 + 3 / 512))


def test_the_rule_of_three_never_moves_the_upper_end_below_the_value():
    better = flawless(100)
    goals = {
        "x": GoalValues(
            policy=np.full(100, 1.5),
            random=np.zeros(100),
            oracle=np.ones(100),
            off=np.zeros(100),
        )
    }
    found = assess(
        Behavior(legs=better.legs, random_legs=better.random_legs, goals=goals)
    )
    assert found.capability.value == found.capability.high == 1.5


def test_an_interval_with_width_is_not_widened():
    assert "three" not in assess(behavior(0.9)).capability.method


def test_off_has_no_capability():
    nothing = Legs(distance=np.zeros(N), time=np.zeros(N))
    found = assess(Behavior(legs=nothing, random_legs=legs(0.1)))
    assert found.capability.high < 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "legs or goals"),
        ({"legs": legs(1.0)}, "come together"),
        (
            {
                "legs": Legs(distance=np.array([5.0]), time=np.array([2.0])),
                "random_legs": Legs(distance=np.array([1.0]), time=np.array([2.0])),
            },
            "distance <= time",
        ),
        ({"goals": {"x": goal(0.5)}, "levels": ("a",)}, "level ids"),
        (
            {
                "goals": {
                    "x": GoalValues(
                        policy=np.array([np.nan]),
                        random=np.zeros(1),
                        oracle=np.ones(1),
                        off=np.zeros(1),
                    )
                }
            },
            "NaN",
        ),
    ],
)
def test_impossible_behavior_is_refused(given, words):
    with pytest.raises(ContractError, match=words):
        Behavior(**given)
