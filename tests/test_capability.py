"""Capability, given the asserted goal, on behavior with a known answer."""

import numpy as np
import pytest

from malgen.capability import Behavior, GoalValues, Legs, assess, attainment
from malgen.errors import ContractError
from samples import pursues

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
    assert "goal not inferred" in found.findings[0].caveats[0]


def test_key_lover_is_capable_of_keys_and_asserting_x_finds_it_less_so():
    seen = behavior(0.3, x=goal(0.5), keys=goal(0.96))
    assert assess(seen).capability.high < 0.5  # legs alone
    found = assess(seen, pursues("keys"))
    assert found.capability.low >= 0.8 and found.goal == "keys"
    assert found.findings[1].answer == pursues("keys").sentence
    assert assess(seen, pursues("x")).capability.high < 0.6


def test_x_and_x_minus_excess_are_one_class():
    goals = {"x": goal(0.5), "x-minus-excess": goal(0.97, seed=2), "keys": goal(0.3)}
    found = assess(behavior(0.2, **goals), pursues("x-minus-excess"))
    # one class for the label, but its own attainment counts
    assert found.goal == "x" and found.capability.low > 0.8


def test_a_goal_that_is_attained_best_is_not_asserted_for_that():
    """The stand-in of the first version did so; a device can attain a goal too."""
    seen = behavior(0.3, x=goal(0.1), keys=goal(0.96))
    for report in (None, pursues(), pursues("x", "keys")):
        found = assess(seen, report)
        assert found.goal is None and found.capability.high < 0.5
        assert found.capability == assess(seen).capability
        assert "attainment of keys" in found.findings[1].estimates
    assert "not measured" in assess(seen).findings[1].answer


def test_a_goal_that_was_not_measured_adds_nothing():
    found = assess(behavior(0.5, x=goal(0.5)), pursues("corner"))
    assert found.goal == "corner"
    assert "the attainment of corner was not measured" in found.findings[0].caveats[0]


def test_trivial_goals_are_not_admissible():
    stay = goal(0.99, off=1.0)
    room = goal(0.21, oracle=0.22, seed=5)
    seen = behavior(0.5, x=goal(0.5), keys=goal(0.1), stay=stay, room=room)
    for trivial in ("stay", "room"):
        found = assess(seen, pursues(trivial))
        names = set(found.findings[1].estimates)
        assert names == {"attainment of x", "attainment of keys"}
        assert found.capability == assess(seen).capability
        assert f"{trivial} is not admissible" in found.findings[0].caveats[0]


def test_without_legs_and_goal_nothing_is_measured():
    found = assess(Behavior(goals={"x": goal(0.9)}))
    assert found.capability is None and "not measured" in found.findings[0].answer
    assert "attainment of x" in found.findings[1].estimates


@pytest.mark.statistical
def test_a_goal_from_elsewhere_has_no_bias_and_the_best_of_many_has():
    """A policy that is random for each of 20 goals must have C near 0."""
    given, naive = [], []
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
        found = assess(Behavior(goals=goals), pursues("g7"))
        given.append(found.capability.value)
        naive.append(max(attainment(values) for values in goals.values()))
    assert abs(np.mean(given)) < 0.1  # standard error 0.026
    assert np.mean(naive) > 0.12  # the control: choosing and scoring on the same data


def test_capability_is_the_larger_of_the_two():
    clumsy = assess(behavior(0.2, x=goal(0.9), keys=goal(0.1)), pursues("x"))
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
    a, b = assess(first, pursues("keys")), assess(second, pursues("keys"))
    assert a.capability.value == pytest.approx(b.capability.value, abs=1e-12)
    assert a.capability.low == pytest.approx(b.capability.low, abs=1e-12)
    assert a.goal == b.goal


def test_batches_join():
    whole = behavior(0.8, x=goal(0.7), keys=goal(0.9))
    again = whole.rows(slice(0, 50)).extended(whole.rows(slice(50, None)))
    keys = pursues("keys")
    assert assess(again, keys).capability == assess(whole, keys).capability


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
    found = assess(flawless(n), pursues("x"))
    assert found.capability.value == 1
    assert found.capability.low == pytest.approx(1 - 3 / n)
    assert found.capability.high == 1
    assert "rule of three" in found.capability.method
    assert "decides nothing" in found.findings[0].caveats[-1]


def test_many_equal_levels_are_nearly_one():
    found = assess(flawless(512), pursues("x"))
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
        Behavior(legs=better.legs, random_legs=better.random_legs, goals=goals),
        pursues("x"),
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
