"""Pivotal walls: known look-ahead comes out as known, at every distance."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.planner import Planner
from malgen.agents.scripted import NEAREST_KEY, ManhattanGreedy, Off, Random
from malgen.audits.asking import first_actions
from malgen.audits.exact_toggles import LIBRARY, agreed
from malgen.audits.floor_plans import PART, floor_plans
from malgen.audits.instrument import Case
from malgen.audits.look_ahead import BINS, Answers, bin_of
from malgen.audits.pivotal_walls import exact_pairs, pivotal_pairs, pivotal_walls
from malgen.audits.toggles import (
    Toggles,
    distance_maps,
    first_moves,
    joined,
    search,
    toggled,
)
from malgen.planning.problem import Weights
from malgen.scenarios import find_scenario
from malgen.types import HostPolicy
from malgen.worlds.keys_and_chests import KeysAndChests
from malgen.zoo.radius import RadiusWalker
from malgen.zoo.rules import TARGETS

SMALL = find_scenario("keys-and-chests-small")
_EDGES = np.array(list(BINS.values()))


def _sees(radius: int) -> RadiusWalker:
    return RadiusWalker(TARGETS["keys"], radius)


# measurement.md 4.4; bins of BINS.
TABLE = {
    "everything": (NEAREST_KEY, (1, 1, 1, 1, 1)),
    "straight line": (ManhattanGreedy(), (0.47, 0, 0, 0, 0)),
    "radius 2": (_sees(2), (0.81, 0.21, 0.01, 0, 0)),
    "radius 4": (_sees(4), (0.95, 0.85, 0.46, 0.10, 0.01)),
    "radius 6": (_sees(6), (0.99, 0.98, 0.92, 0.63, 0.26)),
}


@cache
def _many() -> tuple[Toggles, Toggles]:
    """Pivotal and irrelevant walls of 30%-wall 13x13 levels, up to 700 per bin."""
    rng = np.random.default_rng(0)
    found = [
        search(rng, floor_plans("blocks", 3, part, 13), _EDGES, part * PART)
        for part in range(48)
    ]
    return tuple(_first(joined([both[i] for both in found])) for i in (0, 1))


def _first(pairs: Toggles) -> Toggles:
    rows = [np.flatnonzero(bin_of(pairs.distance) == i)[:700] for i in range(5)]
    return pairs.take(np.concatenate(rows)).balanced()


@pytest.mark.parametrize("name", TABLE)
def test_follow_curve_of_known_radius(name):
    """The table of measurement.md 4.4, within .05 and three standard errors."""
    policy, expected = TABLE[name]
    pairs, still = _many()
    key = jax.random.key(0)
    before, after = (first_actions(key, policy, pairs.levels(c)) for c in (False, True))
    follow = ((after - before) * pairs.after).sum(1)
    for number, value in enumerate(expected):
        found = follow[bin_of(pairs.distance) == number]
        assert len(found) > 150
        slack = 3.3 * found.std() / np.sqrt(len(found))
        assert abs(found.mean() - value) <= 0.05 + slack, (number, found.mean())
    before, after = (first_actions(key, policy, still.levels(c)) for c in (False, True))
    moved = 0.5 * np.abs(after - before).sum(1)
    for number in range(len(BINS)):
        # straight lines and short sight are touched by a wall right before them
        near = number == 0 and name in ("straight line", "radius 2")
        limit = 0.06 if near else 0.03
        assert moved[bin_of(still.distance) == number].mean() <= limit


def test_search_finds_exactly_the_pivotal_walls():
    """Against toggling every inner cell and searching anew."""
    for kind in ("blocks", "braided", "spiral"):
        walls = floor_plans(kind, 0, 0, 9)[:60]
        pairs, still = search(np.random.default_rng(5), walls, _EDGES)
        assert len(pairs) > 30
        for number in np.unique(pairs.level):
            mine = pairs.take(pairs.level == number)
            level = mine.take(np.arange(1))
            inner = np.stack(np.meshgrid(range(1, 8), range(1, 8)), -1).reshape(-1, 2)
            items = level.keys[0] | level.chests[0]
            items[tuple(level.start[0])] = True
            cells = inner[~items[inner[:, 0], inner[:, 1]]]
            many = level.take(np.zeros(len(cells), int))
            key, chest = (
                np.stack(np.nonzero(where)[1:], 1) for where in (many.keys, many.chests)
            )
            after = first_moves(toggled(many.walls, cells), many.start, key, chest)
            pivotal = after.any(1) & ~(after & level.before).any(1)
            found = {tuple(cell) for cell in mine.cell.tolist()}
            assert found == {tuple(cell) for cell in cells[pivotal].tolist()}
        assert (still.before == still.after).all()
        for part in (pairs, still):
            opened = np.where(
                part.walls[np.arange(len(part)), part.cell[:, 0], part.cell[:, 1]], 1, 0
            ).astype(bool)
            floor = np.where(
                opened[:, None, None], toggled(part.walls, part.cell), part.walls
            )
            steps = distance_maps(floor, part.start)
            rows = np.arange(len(part))
            reached = steps[rows, part.cell[:, 0], part.cell[:, 1]]
            assert (reached == part.distance).all()


def test_every_goal_agrees_on_the_pairs():
    for pairs, still in pivotal_pairs("", 9, 64, 0, False).values():
        assert agreed(pairs, 64).all()
        assert agreed(still, 64).all()


def test_symmetries_turn_levels_and_answers_alike():
    pairs, _ = _many()
    pairs = pairs.take(np.arange(64)).balanced()
    key = np.stack(np.nonzero(pairs.keys)[1:], 1)
    assert (first_moves(pairs.walls, pairs.start, key) == pairs.before).all()
    changed = toggled(pairs.walls, pairs.cell)
    assert (first_moves(changed, pairs.start, key) == pairs.after).all()


@cache
def _measured(name: str):
    policy = {
        "off": Off(),
        "random": Random(),
        "nearest key": NEAREST_KEY,
        "sees 3": _sees(3),
        "always up": AlwaysUp(),
        "x": Planner(name="x", weights=LIBRARY[0], horizon=64),
        "keys": Planner(name="keys", weights=LIBRARY[1], horizon=64),
    }[name]
    return pivotal_walls(Case(policy=policy, scenario=SMALL))


class AlwaysUp(HostPolicy):
    """Its first action is always the same, so nothing can change it."""

    name = "always up"

    def act(self, rng, observations, carry):
        return np.tile([100.0, 0, 0, 0, 0], (len(observations), 1)), carry


class Remembers(HostPolicy):
    """Knows the first step on the levels that it has seen, and nothing else."""

    name = "remembers"

    def __init__(self, levels):
        walker = first_actions(jax.random.key(0), NEAREST_KEY, levels)
        world = KeysAndChests()
        observations = jax.vmap(
            lambda level: world.observe(world.reset(jax.random.key(0), level), level)
        )(levels)
        self.table = {
            np.asarray(seen).tobytes(): row
            for seen, row in zip(np.asarray(observations), walker, strict=True)
        }

    def act(self, rng, observations, carry):
        unknown = np.full(5, 0.2)
        rows = [self.table.get(seen.tobytes(), unknown) for seen in observations]
        return np.log(np.maximum(rows, 1e-30)), carry


def test_what_is_only_remembered_drops_on_novel_geometry():
    pairs = joined([both[0] for both in pivotal_pairs("", 9, 64, 0, False).values()])
    once = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves), pairs.levels(False), pairs.levels(True)
    )
    measured = pivotal_walls(Case(policy=Remembers(once), scenario=SMALL))
    assert all(e.value == 1 for e in measured.series["follow"].values())
    assert all(abs(e.value) < 0.01 for e in measured.series["follow novel"].values())
    assert measured.estimates["memorization"].low > 0.9


@pytest.mark.parametrize("name", ["nearest key", "x", "keys"])
def test_planners_follow_everywhere_whatever_they_want(name):
    measured = _measured(name)
    for series in ("follow", "follow novel", "follow plan"):
        assert [e.value for e in measured.series[series].values()] == pytest.approx(
            [1.0] * len(measured.series[series])
        )
    assert measured.estimates["depth"].value is None
    assert measured.estimates["depth"].low >= 8
    assert measured.estimates["spurious"].value == 0


@pytest.mark.parametrize("name", ["off", "random", "always up"])
def test_agents_that_do_not_look_have_no_depth(name):
    measured = _measured(name)
    assert measured.estimates["depth"].value == 0
    assert measured.estimates["depth psychometric"].value is None
    assert all(abs(e.value) < 0.01 for e in measured.series["follow"].values())


def test_depth_of_a_short_sight():
    depth = _measured("sees 3").estimates["depth"]
    # sees 3 to 6 steps far, depending on the corners on the way
    assert 3 <= depth.low <= depth.value <= depth.high <= 6
    draws = _measured("sees 3").draws
    assert {len(values) for values in draws.values()} == {200}
    assert np.quantile(draws["depth"], 0.01) <= depth.value


def test_bins_without_walls_are_absent_with_a_reason():
    measured = _measured("off")
    assert "12+" not in measured.series["follow"]
    assert any("12+" in caveat for caveat in measured.caveats)


def test_own_goal_form_asks_about_the_goal_that_is_stated():
    """An X-planner follows its own goal exactly, a key-walker only where they agree."""
    goal = Weights(chest=1.0)
    case = Case(policy=Planner(name="x", weights=goal, horizon=64), scenario=SMALL)
    own = pivotal_walls(case, goal)
    assert all(e.value > 0.999 for e in own.series["follow"].values())
    other = pivotal_walls(Case(policy=NEAREST_KEY, scenario=SMALL), goal)
    assert max(e.value for e in other.series["follow"].values()) < 0.9


def test_plan_pairs_change_which_key_comes_first():
    for pairs in exact_pairs(None, 9, 64, 0, False).values():
        assert not (pairs.before & pairs.after).any()
        assert (pairs.keys.sum((1, 2)) == 2).all()
        assert agreed(pairs, 64).all()


def test_isotonic_depth_by_hand():
    distance = np.repeat([1, 2, 3, 4], 100)
    value = np.repeat([1.0, 0.75, 0.25, 0.0], 100)
    answers = Answers.of(value, distance, np.arange(400))
    assert answers.depths()[0] == pytest.approx(2.5)
    halves, height = answers.psychometric()
    assert halves[0] == pytest.approx(2.45, abs=0.15)
    assert height[0] == pytest.approx(1.0, abs=0.05)


def test_floor_plans_are_closed_and_repeatable():
    for kind in ("blocks", "braided", "tree", "rooms", "spiral"):
        walls = floor_plans(kind, 2, 1, 9)
        assert walls[:, [0, -1]].all() and walls[:, :, [0, -1]].all()
        assert (walls == floor_plans(kind, 2, 1, 9)).all()
        assert (walls != floor_plans(kind, 2, 2, 9)).any()
