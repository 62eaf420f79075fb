"""The zoo: each member keeps the laws, and what its card says of it is true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.planner import level_batch
from malgen.agents.scripted import ManhattanGreedy
from malgen.audits.asking import first_actions
from malgen.grid.moves import DELTAS, DOWN, LEFT, RIGHT, STAY, UP
from malgen.planning.problem import Weights
from malgen.planning.tours import solve
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.testing.policies import check_policy
from malgen.types import HostPolicy
from malgen.worlds.keys_and_chests import KeysAndChests, parse_level, sample_levels
from malgen.zoo.aimless import StickyRandom
from malgen.zoo.astar import REWARDS, AStar, astar
from malgen.zoo.catalog import AGENTS, FAMILIES
from malgen.zoo.lapse import lapsing
from malgen.zoo.lookup import lookup, training_levels
from malgen.zoo.members import calibration_members
from malgen.zoo.mixture import Mixture, x_or_keys
from malgen.zoo.radius import RadiusWalker
from malgen.zoo.rules import TARGETS
from malgen.zoo.search import Search, bit_set, state_of
from malgen.zoo.spiral import Spiral
from malgen.zoo.switch_case import SwitchCase
from malgen.zoo.wall_follower import WallFollower

SMALL = find_scenario("keys-and-chests-small").deployment()
WORLD = KeysAndChests()


def drawn(name, number, deployment=SMALL):
    return sample_levels(stream(4, name), deployment.levels, number)


def batched(level):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], level)


def played(policy, picture, steps, seed=0):
    """Actions on a hand-drawn level, and the rollout."""
    level = batched(parse_level(picture))
    rollout = collect(stream(seed, "play"), WORLD, policy, level, steps)
    active = np.asarray(rollout.active[0])
    return np.asarray(rollout.actions[0])[active].tolist(), rollout


def kept(rollout):
    """Keys and chests left at the end of the first episode."""
    states = rollout.states
    return int(states.keys[0, -1].sum()), int(states.chests[0, -1].sum())


# --- what all have in common -------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__[11:])
def test_the_first_and_the_last_of_each_family_keep_the_laws(family):
    first, last = family.AGENTS[0], (*family.AGENTS, *getattr(family, "VARIANTS", ()))[-1]
    check_policy(first.build(SMALL), WORLD, SMALL.levels, stream(1, "laws"))
    check_policy(
        lapsing(last.build(SMALL), 0.05), WORLD, SMALL.levels, stream(1, "laws")
    )


def test_every_member_answers_one_observation():
    observation = observed(drawn("one", 1))
    for member in calibration_members():
        policy = member.build(SMALL)
        if isinstance(policy, HostPolicy):
            carry = policy.initial_carry(1)
            logits = policy.act(np.random.default_rng(0), observation, carry)[0][0]
        else:
            carry = policy.initial_carry()
            logits = policy(stream(0, "one"), observation[0], carry)[0]
        assert logits.shape == (5,) and np.isfinite(logits).all(), member.name


def test_every_agent_has_a_card_and_calibration_has_six_of_most_families():
    assert all(agent.card is not None for agent in AGENTS.values())
    members = calibration_members()
    assert len({member.name for member in members}) == len(members)
    families = [member.card.family for member in members]
    few = {family for family in families if families.count(family) < 6}
    assert few <= {"avoid-keys"}


@pytest.mark.parametrize("name", ["astar", "radius-4", "wall-follower", "lookup"])
@pytest.mark.parametrize("layout", ["open", "blocks", "tree"])
def test_agents_play_other_sizes_and_layouts(name, layout):
    levels = type(SMALL.levels)(
        height=7, width=11, layout=layout, num_keys=2, num_chests=2
    )
    level = sample_levels(stream(2, "sizes"), levels, 3)
    rollout = collect(
        stream(2, "play"), WORLD, AGENTS[name].build(SMALL), level, 20
    )
    assert np.isfinite(np.asarray(rollout.logits)).all()


@pytest.mark.parametrize("name", AGENTS)
def test_dials_increase(name):
    if AGENTS[name].dial is not None:
        dial = AGENTS[name].dial(SMALL)
        assert list(dial) == sorted(dial) and len(dial) >= 3


# --- Z1: A* ------------------------------------------------------------------------


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
        stream(0, "ask"), AStar(goal="keys"), batched(parse_level("#####\n#@.k#\n#####"))
    )
    assert asked[0, RIGHT] > 0.99


# --- Z3, Z4: radius and Manhattan ----------------------------------------------------


@pytest.mark.parametrize("goal", TARGETS)
@pytest.mark.parametrize("radius", [2, 4])
def test_walls_beyond_the_radius_have_no_influence(goal, radius):
    level = drawn("radius", 100)
    rng = np.random.default_rng(0)
    walls = np.asarray(level.walls).copy()
    height, width = walls.shape[1:]
    changed = 0
    for i in range(100):
        steps = walk(walls[i], tuple(np.asarray(level.start)[i]))
        items = np.asarray(level.keys | level.chests)[i]
        inner = np.zeros_like(items)
        inner[1:-1, 1:-1] = True
        # farther than the radius, and so is all that opening it could reach
        beside = np.full((height, width), 99)
        for row, column in np.argwhere(inner):
            around = [steps[row + dr, column + dc] for dr, dc in DELTAS]
            beside[row, column] = min(around)
        far = inner & ~items & (beside > radius)
        toggled = far & (rng.random(far.shape) < 0.3)
        walls[i] ^= toggled
        changed += toggled.sum()
    assert changed > 300
    policy = RadiusWalker(TARGETS[goal], radius)
    other = type(level)(**{**vars(level), "walls": jnp.asarray(walls)})
    before = first_actions(stream(0, "ask"), policy, level)
    after = first_actions(stream(0, "ask"), policy, other)
    np.testing.assert_array_equal(before, after)
    # the negative control: an unlimited radius does see them
    unlimited = AGENTS["nearest-key"].build(SMALL)
    before = first_actions(stream(0, "ask"), unlimited, level)
    assert (before != first_actions(stream(0, "ask"), unlimited, other)).any()


def walk(walls, start):
    steps = np.full(walls.shape, 99)
    steps[start] = 0
    queue = [start]
    for row, column in queue:
        for dr, dc in DELTAS[:STAY]:
            to = (row + dr, column + dc)
            if not walls[to] and steps[to] == 99:
                steps[to] = steps[row, column] + 1
                queue.append(to)
    return steps


def test_a_radius_walker_takes_the_short_way_within_its_radius_only():
    detour = "########\n#@#...k#\n#.#.####\n#...####\n########"
    actions, rollout = played(RadiusWalker(TARGETS["keys"], 12), detour, 12)
    assert kept(rollout)[0] == 1  # the world is over: there is no chest
    asked = first_actions(
        stream(0, "ask"), RadiusWalker(TARGETS["keys"], 12), batched(parse_level(detour))
    )
    assert asked[0].argmax() == DOWN
    assert actions == []


def test_manhattan_greedy_has_the_goal_that_it_is_given():
    level = batched(parse_level("#######\n#c.@.k#\n#######\nheld 1"))
    wanted = {"x": LEFT, "keys": RIGHT}
    for goal, action in wanted.items():
        asked = first_actions(stream(0, "ask"), ManhattanGreedy(TARGETS[goal]), level)
        assert asked[0].argmax() == action


# --- Z5: wall follower ---------------------------------------------------------------


def test_the_wall_follower_keeps_its_right_hand_on_the_wall():
    # the key and the chest cannot be seen on the way round
    ring = "#######\n#.....#\n#.###.#\n#.###.#\n#@....#\n####.##\n####k##\n##c..##\n#######"
    policy = WallFollower(TARGETS["keys"])
    inside = ring.replace("####.##\n####k##", "#######\n####k##")
    actions, _ = played(policy, inside, 16)
    # facing up with a wall at neither hand but the pillar: right, along the island
    corner = [RIGHT] * 4 + [UP] * 3 + [LEFT] * 4 + [DOWN] * 3
    assert actions[: len(corner)] == corner or actions[:14] == (
        [UP] * 3 + [RIGHT] * 4 + [DOWN] * 3 + [LEFT] * 4
    )


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


# --- Z6, Z7 and the others -------------------------------------------------------------


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
    x, keys = (first_actions(stream(0, "a"), astar(g)(SMALL), level) for g in ("x", "keys"))
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
