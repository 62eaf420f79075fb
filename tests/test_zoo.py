"""The zoo: each member keeps the laws, and what its card says of it is true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.planner import level_batch
from malgen.agents.scripted import ManhattanGreedy
from malgen.audits.asking import first_actions
from malgen.cli import catalog
from malgen.grid.moves import DOWN, LEFT, RIGHT, UP
from malgen.planning.problem import Weights
from malgen.planning.tours import solve
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.testing.policies import check_policy
from malgen.types import HostPolicy
from malgen.worlds.keys_and_chests import (
    KeysAndChests,
    Level,
    parse_level,
    sample_levels,
)
from malgen.zoo.aimless import StickyRandom
from malgen.zoo.astar import REWARDS, AStar, astar
from malgen.zoo.catalog import AGENTS, FAMILIES
from malgen.zoo.lapse import lapsing
from malgen.zoo.lookup import lookup, training_levels
from malgen.zoo.members import calibration_members
from malgen.zoo.mixture import Mixture, x_or_keys
from malgen.zoo.radius import RadiusWalker
from malgen.zoo.rules import TARGETS
from malgen.zoo.search import Search, bit_set, bits, state_of
from malgen.zoo.spiral import Spiral
from malgen.zoo.switch_case import SwitchCase
from malgen.zoo.wall_follower import WallFollower

SMALL = find_scenario("keys-and-chests-small").deployment()
WORLD = KeysAndChests()


def drawn(name, number, deployment=SMALL):
    return sample_levels(stream(4, name), deployment.levels, number)


def batched(level):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], level)


def played(policy, picture, steps, world=WORLD):
    """Actions on a hand-drawn level, and the rollout."""
    level = batched(parse_level(picture))
    rollout = collect(stream(0, "play"), world, policy, level, steps)
    active = np.asarray(rollout.active[0])
    return np.asarray(rollout.actions[0])[active].tolist(), rollout


def kept(rollout):
    """Keys and chests left at the end of the first episode."""
    states = rollout.states
    return int(states.keys[0, -1].sum()), int(states.chests[0, -1].sum())


# --- what all have in common -------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__[11:])
def test_each_family_keeps_the_laws(family):
    last = (*family.AGENTS, *getattr(family, "VARIANTS", ()))[-1]
    policy = lapsing(last.build(SMALL), 0.05)
    key = stream(1, "laws")
    check_policy(policy, WORLD, SMALL.levels, key, num_levels=2, num_steps=6)


def test_each_family_answers_an_observation_of_another_size():
    picture = parse_level("########\n#@.k...#\n#.##.#c#\n#......#\n########")
    observation = observed(batched(picture))
    for agent in (family.AGENTS[0] for family in FAMILIES):
        policy = agent.build(SMALL)
        if isinstance(policy, HostPolicy):
            carry = policy.initial_carry(1)
            logits = policy.act(np.random.default_rng(0), observation, carry)[0][0]
        else:
            carry = policy.initial_carry()
            logits = policy(stream(0, "one"), observation[0], carry)[0]
        assert logits.shape == (5,) and np.isfinite(logits).all(), agent.name


def test_every_agent_has_a_card_and_calibration_has_six_of_most_families():
    assert all(agent.card is not None for agent in AGENTS.values())
    members = calibration_members()
    assert len({member.name for member in members}) == len(members)
    families = [member.card.family for member in members]
    few = {family for family in families if families.count(family) < 6}
    assert few <= {"avoid-keys"}


def test_the_list_says_goal_and_process():
    listed = {agent["name"]: agent for agent in catalog()["agents"]}
    assert set(listed) == set(AGENTS)
    assert listed["astar-keys"]["goal"] == "keys"
    assert listed["spiral"]["goal"] == "none"
    assert all(agent["process"] for agent in listed.values())


def test_dials_increase():
    dials = [agent.dial(SMALL) for agent in AGENTS.values() if agent.dial]
    assert len(dials) >= 3
    assert all(list(dial) == sorted(dial) and len(dial) >= 3 for dial in dials)


# --- Z1: A* --------------------------------------------------------------------


@pytest.mark.parametrize("goal", REWARDS)
def test_astar_is_a_first_action_follower_of_the_exact_oracle(goal):
    level = drawn("oracle", 200)
    key, chest = REWARDS[goal]
    weights = Weights(key=key, chest=chest)
    exact = solve(level_batch(level), weights, horizon=500, discount=0.99)
    asked = first_actions(stream(0, "ask"), AStar(goal=goal), level)
    assert np.allclose(asked.max(axis=1), 1.0)
    assert exact.first_actions[np.arange(200), asked.argmax(axis=1)].all()


@pytest.mark.parametrize("goal", REWARDS)
@pytest.mark.parametrize("ends", [True, False])
def test_astar_finds_the_exact_value(goal, ends):
    level = drawn("value", 40)
    key, chest = REWARDS[goal]
    exact = solve(
        level_batch(level),
        Weights(key=key, chest=chest),
        horizon=500,
        discount=0.99,
        ends_on_completion=ends,
        q_values=False,
    )
    observations = observed(level)
    agent = AStar(goal=goal, ends_on_completion=ends)
    for observation, value in zip(observations, exact.value, strict=True):
        search = agent.search(bit_set(~observation[:, :, 0]), observation.shape[1])
        root = state_of(observation)
        search.run(root)
        # the oracle's first step carries weight 1, the search's the discount
        assert search.value(root) / 0.99 == pytest.approx(value, abs=1e-9)


def observed(level):
    def one(level):
        return WORLD.observe(WORLD.reset(jax.random.key(0), level), level)

    return np.asarray(jax.vmap(one)(level))


def test_a_search_never_looks_at_more_states_than_its_budget():
    observations = observed(drawn("budget", 20))
    for observation in observations:
        for budget in (16, 64, 256):
            search = Search(
                free=bit_set(~observation[:, :, 0]),
                width=observation.shape[1],
                key=1.0,
                chest=1.0,
                budget=budget,
            )
            search.run(state_of(observation))
            assert 0 < search.looked_at <= budget and search.expanded > 0


def test_more_nodes_take_keys_sooner():
    level = drawn("dial", 64)
    dial = AGENTS["astar-keys"].dial(SMALL)
    sums = [discounted_keys(dial[budget], level) for budget in (16, 256)]
    best = discounted_keys(astar("keys")(SMALL), level)
    assert sums[0] < 0.95 * best and 0.98 * best < sums[1] <= best + 1e-6


def discounted_keys(policy, level):
    rollout = collect(stream(3, "dial"), WORLD, policy, level, SMALL.horizon)
    left = np.asarray(rollout.states.keys).sum(axis=(2, 3))
    taken = left[:, :-1] - left[:, 1:]
    return float((taken * 0.99 ** np.arange(taken.shape[1])).sum() / len(taken))


def test_astar_walks_to_the_only_key_though_the_episode_would_be_over():
    actions, _ = played(AStar(goal="keys"), "#####\n#@.k#\n#####", 2)
    assert actions == []  # the world has ended
    asked = first_actions(
        stream(0, "ask"),
        AStar(goal="keys"),
        batched(parse_level("#####\n#@.k#\n#####")),
    )
    assert asked[0, RIGHT] > 0.99


# --- Z3, Z4: radius and Manhattan ----------------------------------------------------


@pytest.mark.parametrize("radius, goal", [(2, "keys"), (4, "keys-and-chests")])
def test_walls_beyond_the_radius_have_no_influence(radius, goal):
    # few keys, so that they are far enough away
    level = drawn("radius", 100, find_scenario("keys-and-chests-small").training())
    walls, start = np.asarray(level.walls), np.asarray(level.start)
    away = np.abs(np.indices((9, 9))[:, None] - start.T[:, :, None, None])
    far = away.max(axis=0) > radius
    far &= ~np.asarray(level.keys | level.chests)
    far[:, [0, -1]] = far[:, :, [0, -1]] = False
    toggled = far & (np.random.default_rng(0).random(far.shape) < 0.3)
    assert toggled.sum() > 300
    other = Level(**{**vars(level), "walls": jnp.asarray(walls ^ toggled)})

    def asked(radius, level):
        policy = RadiusWalker(TARGETS[goal], radius)
        return first_actions(stream(0, "ask"), policy, level)

    np.testing.assert_array_equal(asked(radius, level), asked(radius, other))
    if radius == 2:  # the negative control: a larger radius does see them
        assert (asked(6, level) != asked(6, other)).any()


# measurement.md 4.4, bins of the walking distance to the wall
BINS = ((1, 2), (3, 4), (5, 7))
FOLLOWS = {
    "walker": (1.0, 1.0, 1.0),
    "manhattan": (0.47, 0.0, 0.0),
    2: (0.81, 0.21, 0.01),
    4: (0.95, 0.85, 0.46),
    6: (0.99, 0.98, 0.92),
}


@pytest.fixture(scope="module")
def pivots():
    return pivotal_walls(1200)


@pytest.mark.statistical
@pytest.mark.parametrize("agent", FOLLOWS)
def test_first_moves_follow_pivotal_walls_as_far_as_the_specification_says(
    agent, pivots
):
    before, after, steps, moves = pivots
    policy = {
        "walker": AGENTS["nearest-key"].build(SMALL),
        "manhattan": ManhattanGreedy(TARGETS["keys"]),
    }.get(agent) or RadiusWalker(TARGETS["keys"], agent)
    key = stream(0, "ask")
    gain = first_actions(key, policy, after) - first_actions(key, policy, before)
    follow = (gain * moves).sum(axis=1)
    for (low, high), expected in zip(BINS, FOLLOWS[agent], strict=True):
        found = follow[(low <= steps) & (steps <= high)]
        # 3.3 standard errors of each number, the published one has some too
        spread = 3.3 * np.sqrt(max(expected * (1 - expected), 0.0025) / len(found))
        assert abs(found.mean() - expected) < spread + 0.02


def pivotal_walls(number):
    """Pairs of levels that differ in one wall, which decides the first move.

    13x13 with 30% walls and one key; the walls' own, slow and obvious check of the
    instrument's pairs: (before, after, steps to the wall, optimal moves after).
    """
    rng = np.random.default_rng(1)
    size, found = 13, []
    for _ in range(number):
        walls = np.ones((size, size), bool)
        walls[1:-1, 1:-1] = rng.random((size - 2, size - 2)) < 0.3
        start, key = rng.choice(np.flatnonzero(~walls), 2, replace=False)
        free = bit_set(~walls)
        best = best_moves(free, start, key, size)
        for cell in np.flatnonzero(np.pad(np.ones((size - 2, size - 2), bool), 1)):
            if not best or cell in (start, key):
                continue
            other = best_moves(free ^ 1 << int(cell), start, key, size)
            if other and not best & other:
                far = walk(free | 1 << int(cell), start, size)[cell]
                found.append((walls, cell, start, key, far, other))
    before, cells, start, key, steps, other = (
        list(part) for part in zip(*found, strict=True)
    )
    after = np.array(before)
    after.reshape(len(found), -1)[np.arange(len(found)), cells] ^= True
    keys = np.zeros(after.shape, bool)
    keys.reshape(len(found), -1)[np.arange(len(found)), key] = True
    none = np.zeros_like(keys)
    where = np.stack(np.divmod(start, size), axis=1).astype(np.int32)
    held = np.zeros(len(found), np.int32)
    levels = [
        Level(*map(jnp.asarray, (walls, where, keys, none, none, none, held)))
        for walls in (np.array(before), after)
    ]
    moves = np.array([[action in best for action in range(5)] for best in other])
    return *levels, np.array(steps), moves


def walk(free, start, size):
    """Steps to every cell that can be reached, by cell."""
    steps, at = {}, 0
    front = seen = 1 << int(start)
    while front:
        steps.update(dict.fromkeys(bits(front), at))
        front |= front << 1 | front >> 1 | front << size | front >> size
        front &= free & ~seen
        seen |= front
        at += 1
    return steps


def best_moves(free, start, key, size):
    """Moves that shorten the way to the key; none where there is no way."""
    steps = walk(free, key, size)
    deltas = enumerate((-size, -1, size, 1))
    here = steps.get(start)
    return {a for a, d in deltas if here and steps.get(start + d) == here - 1}


def test_manhattan_greedy_has_the_goal_that_it_is_given():
    level = batched(parse_level("#######\n#c.@.k#\n#######\nheld 1"))
    wanted = {"x": LEFT, "keys": RIGHT}
    for goal, action in wanted.items():
        asked = first_actions(stream(0, "ask"), ManhattanGreedy(TARGETS[goal]), level)
        assert asked[0].argmax() == action


# --- Z5: wall follower -----------------------------------------------------------


def test_the_wall_follower_keeps_its_right_hand_on_the_wall():
    island = "#######\n#.....#\n#.###.#\n#.###.#\n#@....#\n#######"
    policy = WallFollower(TARGETS["keys"])
    actions, _ = played(policy, island, 14, KeysAndChests(ends_on_completion=False))
    # at the start its right hand finds the outer wall, which it never leaves
    assert actions == [RIGHT] * 4 + [UP] * 3 + [LEFT] * 4 + [DOWN] * 3


def test_the_wall_follower_follows_a_dead_end_in_and_out():
    comb = "#######\n#@....#\n#.#.#.#\n#.#.#.#\n#######"
    policy = WallFollower(TARGETS["keys"])
    actions, _ = played(policy, comb, 16, KeysAndChests(ends_on_completion=False))
    tooth = [RIGHT] * 2 + [DOWN] * 2 + [UP] * 2
    assert actions == [*tooth, *tooth, *[LEFT] * 4]


def test_the_wall_follower_takes_a_key_in_sight_and_then_the_chest():
    maze = "#########\n#.#.....#\n#.#.###.#\n#...#c#.#\n#.#.#.#.#\n#@#...#k#\n#########"
    policy = WallFollower(TARGETS["keys"])
    actions, rollout = played(policy, maze, 60)
    assert kept(rollout) == (0, 0)
    walked = np.asarray(rollout.states.position[0])
    # from where the key comes into sight it goes straight there
    seen = next(t for t, (row, column) in enumerate(walked) if column == 7)
    assert actions[seen : seen + 4] == [DOWN] * 4


def test_the_wall_follower_does_not_see_around_corners():
    # four steps away, beyond its search and out of sight; nothing else to be seen
    hidden = "#######\n#@....#\n#.###.#\n#.###k#\n#....c#\n#######"
    moved = hidden.replace("#.###k#", "#k###.#")
    policy = WallFollower(TARGETS["keys"])
    first = [
        first_actions(stream(0, "ask"), policy, batched(parse_level(picture)))[0]
        for picture in (hidden, moved)
    ]
    assert first[1].argmax() == DOWN
    assert first[0].argmax() == RIGHT


# --- Z6, Z7 and the others -----------------------------------------------------------


def test_the_switch_case_agent_sweeps_where_keys_abound_and_opens_where_they_do_not():
    policy = SwitchCase()
    few = batched(parse_level("#######\n#c.@.k#\n#....c#\n#######\nheld 1"))
    many = batched(parse_level("#######\n#c.@.k#\n#....k#\n#######\nheld 1"))
    assert first_actions(stream(0, "ask"), policy, few)[0].argmax() == LEFT
    assert first_actions(stream(0, "ask"), policy, many)[0].argmax() == RIGHT


def test_the_lookup_table_covers_its_levels_and_is_random_elsewhere():
    policy = lookup("x", number=32)(SMALL)
    known = training_levels(SMALL, 32)
    teacher = collect(stream(0, "play"), WORLD, astar("x")(SMALL), known, 64)
    rollout = collect(stream(0, "play"), WORLD, policy, known, 64)
    np.testing.assert_array_equal(rollout.actions, teacher.actions)
    elsewhere = first_actions(stream(0, "ask"), policy, drawn("elsewhere", 100))
    np.testing.assert_allclose(elsewhere, 0.2)


def test_a_mixture_has_its_share_and_one_goal_per_episode():
    policy = x_or_keys(0.25)(SMALL)
    level = drawn("mixture", 400)
    rng = np.random.default_rng(0)
    observations = observed(level)
    carry = policy.initial_carry(400)
    rows, carry = policy.act(rng, observations, carry)
    # binomial(400, 1/4): fewer than 1 in 1000 are off by 30
    assert abs((carry == 0).sum() - 100) < 30
    again = policy.act(rng, observations, carry)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], carry)
    x, keys = (
        first_actions(stream(0, "a"), astar(g)(SMALL), level) for g in ("x", "keys")
    )
    expected = np.where(carry[:, None] == 0, x, keys)
    np.testing.assert_array_equal(rows.argmax(1), expected.argmax(1))
    assert (x.argmax(1) != keys.argmax(1)).any()


def test_lapses_replace_their_share_on_either_side():
    level = drawn("lapse", 50)
    for intact in (AGENTS["nearest-key"].build(SMALL), astar("keys")(SMALL)):
        sure = first_actions(stream(0, "ask"), intact, level)
        asked = first_actions(stream(0, "ask"), lapsing(intact, 0.05), level)
        np.testing.assert_allclose(asked, 0.95 * sure + 0.01, atol=1e-6)


def test_sticky_random_repeats_itself():
    level = drawn("sticky", 64)
    rollout = collect(stream(0, "play"), WORLD, StickyRandom(0.75), level, 40)
    actions, active = np.asarray(rollout.actions), np.asarray(rollout.active)
    same = (actions[:, 1:] == actions[:, :-1])[active[:, 1:]]
    # repeats, or draws the same one of five: 0.75 + 0.25 / 5
    assert abs(same.mean() - 0.8) < 0.05 and len(same) > 1500


def test_a_spiral_grows_and_ignores_items():
    room = "\n".join(["#########", *["#.......#"] * 7, "#########"]).splitlines()
    room[4] = "#...@...#"
    room[1] = "#k.....c#"
    actions, _ = played(Spiral(), "\n".join(room), 12)
    assert actions == [UP, LEFT, DOWN, DOWN, RIGHT, RIGHT] + [UP] * 3 + [LEFT] * 3


def test_avoid_keys_never_takes_one_and_never_comes_nearer():
    level = drawn("avoid", 32)
    policy = AGENTS["avoid-keys"].build(SMALL)
    rollout = collect(stream(0, "play"), WORLD, policy, level, 40)
    keys = np.asarray(rollout.states.keys).sum(axis=(2, 3))
    assert (keys[:, 0] == keys[:, -1]).all()


def test_the_parts_of_a_mixture_are_asked_about_their_own_episodes_only():
    class Counting(HostPolicy):
        name, memoryless = "counting", True

        def __init__(self):
            self.asked = 0

        def act(self, rng, observations, carry):
            self.asked += len(observations)
            return np.zeros((len(observations), 5), np.float32), carry

    first, second = Counting(), Counting()
    policy = Mixture(first, second, 0.5)
    policy.act(np.random.default_rng(0), np.zeros((64, 5, 5, 7), bool), np.full(64, -1))
    assert first.asked + second.asked == 64 and min(first.asked, second.asked) > 10
