"""Keys and Chests through Gymnasium's door, one at a time and as a batch."""

import json
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import malgen  # noqa: F401  (registers the environments)
from malgen.adapters.gymnasium import KeysAndChestsEnv, KeysAndChestsVectorEnv
from malgen.adapters.registration import KEYS_AND_CHESTS, register
from malgen.errors import ConfigError, ContractError, LevelError, MalgenError
from malgen.worlds.keys_and_chests import KeysAndChests, draw_level
from reference import keys_and_chests as reference

SMALL = {"size": 7, "num_keys": 2, "num_chests": 3, "horizon": 20}
LEVEL = "#######\n#@kc..#\n#kk.c.#\n#######"


def make(**kwargs):
    return gymnasium.make(KEYS_AND_CHESTS, **kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [SMALL, SMALL | {"view": "agent"}, SMALL | {"view": 3}, {"level": LEVEL}],
    ids=["planes", "agent", "crop", "level"],
)
def test_checker_finds_nothing(kwargs):
    # Warnings are errors in this suite, so the checker must not even warn.
    check_env(make(**kwargs).unwrapped)


@pytest.mark.parametrize("view", [None, "agent", 3])
def test_the_checker_of_stable_baselines3_finds_nothing(view):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make(**SMALL, view=view).unwrapped, warn=True)


def test_defaults_come_from_the_scenarios():
    full, small = KeysAndChestsEnv(), KeysAndChestsEnv(split="deploy", size=9)
    assert full.observation_space.shape == (13, 13, 7)
    assert full._setting.horizon == 128 and small._setting.horizon == 64
    for env, counts in ((full, (3, 10)), (small, (6, 2))):
        levels = env._setting.levels
        assert (int(levels.num_keys), int(levels.num_chests)) == counts


def test_registering_is_repeatable_and_found_by_both_spellings():
    register()
    register()
    assert make(level=LEVEL).spec.id == KEYS_AND_CHESTS
    assert gymnasium.make(f"malgen:{KEYS_AND_CHESTS}", level=LEVEL).spec is not None
    with pytest.raises(gymnasium.error.VersionNotFound):
        gymnasium.make("malgen/KeysAndChests-v9")


def test_importing_malgen_imports_no_engine():
    code = (
        "import sys, malgen; assert 'jax' not in sys.modules; "
        "import gymnasium; assert 'malgen/KeysAndChests-v0' in gymnasium.registry; "
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_spec_survives_json():
    env = make(**SMALL, view="agent")
    spec = json.loads(env.spec.to_json())
    assert spec["entry_point"] == "malgen.adapters.gymnasium:KeysAndChestsEnv"
    assert spec["kwargs"] == SMALL | {"view": "agent"}
    again = gymnasium.make(type(env.spec).from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    batch = gymnasium.make_vec(KEYS_AND_CHESTS, num_envs=2, **SMALL)
    assert json.loads(batch.spec.to_json())["kwargs"]["num_envs"] == 2


# --- one episode ----------------------------------------------------------------------


def test_an_episode_step_by_step():
    env = KeysAndChestsEnv(level=LEVEL)
    _, info = env.reset(seed=0)
    expected = {"keys_taken": 0, "chests_opened": 0, "keys_held": 0, "excess_keys": 0}
    assert info == expected | {"is_success": False}
    told = [env.step(action) for action in (3, 2, 1, 0, 3, 3, 3, 2)]
    counts = [tuple(info[name] for name in expected) for *_, info in told]
    assert counts == [
        (1, 0, 1, 0),  # right: a key
        (2, 0, 2, 0),  # down: another
        (3, 0, 3, 1),  # left: one more than there are chests
        (3, 0, 3, 1),
        (3, 0, 3, 1),
        (3, 1, 2, 1),  # right: a chest
        (3, 1, 2, 1),
        (3, 2, 1, 1),  # down: the last chest
    ]
    assert [step[1] for step in told] == [0.0] * 5 + [1.0, 0.0, 1.0]
    assert [step[2] for step in told] == [False] * 7 + [True]
    assert not any(step[3] for step in told)
    assert [step[4]["is_success"] for step in told] == [False] * 7 + [True]
    for _, reward, terminated, truncated, info in told:
        assert type(reward) is float
        assert type(terminated) is bool and type(truncated) is bool
        assert {type(value) for value in info.values()} == {int, bool}


def test_the_horizon_truncates_and_the_end_does_not():
    env = KeysAndChestsEnv(level=LEVEL, horizon=3)
    env.reset()
    assert [env.step(4)[2:4] for _ in range(3)] == [(False, False)] * 2 + [
        (False, True)
    ]
    going_on = KeysAndChestsEnv(level=LEVEL, horizon=9, ends_on_completion=False)
    going_on.reset()
    told = [going_on.step(action) for action in (3, 2, 1, 0, 3, 3, 3, 2, 4)]
    assert [step[2] for step in told] == [False] * 9
    assert [step[3] for step in told] == [False] * 8 + [True]
    assert told[-1][4]["is_success"] is True
    # Completed in the very last step: that is an end and not a truncation.
    exact = KeysAndChestsEnv(level="#####\n#@kc#\n#####", horizon=2)
    exact.reset()
    exact.step(3)
    assert exact.step(3)[2:4] == (True, False)


def test_episodes_equal_the_reference_world():
    env = KeysAndChestsEnv(**SMALL, render_mode="ansi")
    rng = np.random.default_rng(0)
    for seed in range(5):
        env.reset(seed=seed)
        level = reference.read(env.render())
        state = reference.begin(level)
        for t in range(SMALL["horizon"]):
            action = int(rng.integers(5))
            following = reference.step(state, "uldrs"[action], level)
            _, reward, terminated, truncated, info = env.step(action)
            assert reward == following["opened"] - state["opened"]
            state = following
            assert info["keys_taken"] == state["taken"]
            assert info["keys_held"] == state["held"]
            assert info["excess_keys"] == max(state["taken"] - len(level["chests"]), 0)
            assert terminated == reference.complete(state, level)
            assert truncated == (t + 1 == SMALL["horizon"] and not terminated)
            if terminated:
                break


def test_seeds_decide_the_levels():
    env, other = KeysAndChestsEnv(**SMALL), KeysAndChestsEnv(**SMALL)
    series = [env.reset(seed=7)[0], env.reset()[0], env.reset()[0]]
    again = [other.reset(seed=7)[0], other.reset()[0], other.reset()[0]]
    assert data_equivalence(series, again, exact=True)
    assert not np.array_equal(series[0], series[1])
    assert not np.array_equal(series[0], env.reset(seed=8)[0])


def test_a_level_may_be_given_for_one_episode():
    env = KeysAndChestsEnv(**SMALL, render_mode="ansi")
    env.reset(seed=7)
    drawn = env.render()
    env.reset(seed=0)
    env.reset(options={"level": drawn})
    assert env.render() == drawn
    assert env.observation_space.contains(env.step(4)[0])


def test_the_planes_are_the_level():
    env = KeysAndChestsEnv(**SMALL, render_mode="ansi")
    observation, _ = env.reset(seed=3)
    level = KeysAndChests().level_from(observation.astype(bool))
    assert draw_level(level) == env.render()


def test_views_show_what_is_around_the_agent():
    near = KeysAndChestsEnv(level=LEVEL + "\nheld 2", view=3)
    wide = KeysAndChestsEnv(level=LEVEL + "\nheld 2", view="agent")
    observation, _ = near.reset()
    walls, keys, chests, _, _, held = np.moveaxis(observation, -1, 0)
    assert walls.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert keys.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]
    assert chests.sum() == 0 and held.sum() == 2
    observation, _ = wide.reset()
    assert observation.shape == (3, 9, 6)
    assert observation[:, :, 2].sum() == 2  # nothing is hidden


def test_rendering():
    env = make(level=LEVEL, render_mode="rgb_array")
    env.reset()
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape[2] == 3
    text = make(level=LEVEL, render_mode="ansi")
    text.reset()
    text.step(3)
    assert text.render() == "#######\n#.@c..#\n#kk.c.#\n#######\nheld 1"
    silent = KeysAndChestsEnv(level=LEVEL)
    silent.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert silent.render() is None


def test_keyboard():
    keys = KeysAndChestsEnv(level=LEVEL).get_keys_to_action()
    assert sorted(keys.values()) == [0, 1, 2, 3, 4]


def test_pickling_keeps_the_episode():
    env = KeysAndChestsEnv(**SMALL)
    env.reset(seed=1)
    env.step(3)
    twin = pickle.loads(pickle.dumps(env))
    for action in (0, 1, 2, 3, 4, 2, 2):
        assert data_equivalence(env.step(action), twin.step(action), exact=True)
    assert np.array_equal(env.reset()[0], twin.reset()[0])


def test_a_second_environment_compiles_nothing():
    from malgen.adapters import gymnasium as adapter

    first = KeysAndChestsEnv(**SMALL)
    first.reset(seed=0)
    first.step(0)
    sizes = [f._cache_size() for f in (adapter._draw, adapter._begin, adapter._advance)]
    second = KeysAndChestsEnv(**SMALL | {"num_keys": 1, "horizon": 30})
    second.reset(seed=1)
    second.step(1)
    assert sizes == [
        f._cache_size() for f in (adapter._draw, adapter._begin, adapter._advance)
    ]


# --- batches --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, view",
    [(AutoresetMode.NEXT_STEP, None), (AutoresetMode.SAME_STEP, "agent")],
    ids=["next-step", "same-step"],
)
def test_a_batch_equals_a_loop(mode, view):
    kwargs = SMALL | {"view": view}
    loop = SyncVectorEnv(
        [lambda: KeysAndChestsEnv(**kwargs) for _ in range(3)], autoreset_mode=mode
    )
    batch = KeysAndChestsVectorEnv(3, **kwargs, autoreset_mode=mode)
    assert batch.observation_space == loop.observation_space
    assert batch.action_space == loop.action_space
    assert batch.metadata["autoreset_mode"] is mode
    rng = np.random.default_rng(0)
    ends = 0
    for seed in (5, [1, 8, None], None):
        assert_told_the_same(loop.reset(seed=seed), batch.reset(seed=seed))
        if seed == 5:  # the generators of the last list's None differ otherwise
            levels = [LEVEL_OF_SIZE_7] * 3
            assert_told_the_same(
                loop.reset(options={"level": LEVEL_OF_SIZE_7}),
                batch.reset(options={"level": levels}),
            )
        for _ in range(50):
            actions = rng.integers(0, 5, 3)
            expected = loop.step(actions)
            told = batch.step(actions)
            ends += (expected[2] | expected[3]).sum()
            assert_told_the_same(expected, told)
            assert batch.observation_space.contains(told[0])
    assert ends > 12


LEVEL_OF_SIZE_7 = "\n".join(
    ["#######", "#@k.c.#", "#.###.#", "#..k..#", "#c###.#", "#.....#", "#######"]
)


def assert_told_the_same(expected, told):
    assert len(expected) == len(told)
    for one, other in zip(expected, told, strict=True):
        assert data_equivalence(one, other, exact=True)


def test_the_last_observation_belongs_to_the_old_level():
    """Known from other systems: the next level's state leaks into the last one."""
    picture = "#####\n#@kc#\n#####"
    batch = KeysAndChestsVectorEnv(2, level=picture, autoreset_mode="SameStep")
    single = KeysAndChestsEnv(level=picture)
    start, _ = single.reset()
    single.step(3)
    last = single.step(3)
    batch.reset()
    batch.step(np.array([3, 4]))
    observations, rewards, terminated, _, infos = batch.step(np.array([3, 4]))
    assert rewards.tolist() == [1.0, 0.0] and terminated.tolist() == [True, False]
    assert np.array_equal(observations[0], start)
    assert np.array_equal(infos["final_obs"][0], last[0])
    assert infos["final_obs"][1] is None
    assert infos["_final_obs"].tolist() == [True, False]
    assert infos["final_info"]["chests_opened"].tolist() == [1, 0]
    assert infos["chests_opened"].tolist() == [0, 0]
    following = KeysAndChestsVectorEnv(2, level=picture)
    following.reset()
    following.step(np.array([3, 4]))
    observations, *_, infos = following.step(np.array([3, 4]))
    assert np.array_equal(observations[0], last[0])
    assert infos["chests_opened"].tolist() == [1, 0]
    observations, rewards, terminated, _, infos = following.step(np.array([3, 3]))
    assert np.array_equal(observations[0], start)  # its action only started a level
    assert rewards.tolist() == [0.0, 0.0] and not terminated.any()
    assert infos["keys_taken"].tolist() == [0, 1]


def test_make_vec():
    batch = gymnasium.make_vec(
        KEYS_AND_CHESTS,
        num_envs=3,
        max_episode_steps=2,
        level=LEVEL,
        render_mode="ansi",
    )
    assert type(batch) is KeysAndChestsVectorEnv and batch.num_envs == 3
    batch.reset(seed=0)
    assert not batch.step(np.full(3, 4))[3].any()
    assert batch.step(np.full(3, 4))[3].all()
    assert batch.render() == (LEVEL,) * 3
    twin = pickle.loads(pickle.dumps(batch))
    assert_told_the_same(batch.step(np.full(3, 4)), twin.step(np.full(3, 4)))
    batch.close()


def test_what_is_returned_is_the_users_own():
    batch = KeysAndChestsVectorEnv(2, level=LEVEL)
    first, _ = batch.reset()
    kept = first.copy()
    told = batch.step(np.array([3, 3]))
    told[0][:] = 1
    told[1][:] = 7
    assert np.array_equal(first, kept)
    assert batch.step(np.array([4, 4]))[1].tolist() == [0.0, 0.0]


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs, error, sentence",
    [
        (
            {"split": "test"},
            ConfigError,
            "split is 'test'; use one of 'train', 'deploy'.",
        ),
        (
            {"render_mode": "svg"},
            ConfigError,
            "render_mode is 'svg'; use one of None, 'ansi', 'rgb_array'.",
        ),
        (
            {"layout": "spiral"},
            LevelError,
            "Unknown layout 'spiral'; use one of braided, tree, blocks, open.",
        ),
        ({"size": -3}, ConfigError, "size is -3; give 3 or more."),
        ({"size": 9.0}, ConfigError, "size is 9.0; give a whole number."),
        ({"num_keys": -1}, ConfigError, "num_keys is -1; give 0 or more."),
        ({"horizon": 0}, ConfigError, "horizon is 0; give 1 or more."),
        (
            {"view": 4},
            ConfigError,
            "Unknown view 4; use 'agent' for everything around the agent, or an odd "
            "number of cells such as 11 for a crop.",
        ),
        (
            {"level": 5},
            LevelError,
            "A level was given as int; give its ASCII picture.",
        ),
        (
            {"level": "###\n#.#\n###"},
            LevelError,
            "The level has 0 agents; draw exactly one @.",
        ),
        (
            {"level": LEVEL, "num_keys": 2},
            ConfigError,
            "num_keys or num_chests was given together with a level; the level shows "
            "its own items, so leave the numbers out.",
        ),
        (
            {"size": 5},
            LevelError,
            "3 keys, 10 chests and the agent need 14 floor cells, but a 5 x 5 braided "
            "level surely has only 7; make it larger.",
        ),
    ],
)
def test_bad_arguments_are_refused(kwargs, error, sentence):
    for cls in (KeysAndChestsEnv, KeysAndChestsVectorEnv):
        with pytest.raises(error) as caught:
            cls(**kwargs)
        assert str(caught.value) == sentence


ACTIONS = "0 up, 1 left, 2 down, 3 right, 4 stay"


@pytest.mark.parametrize(
    "action, sentence",
    [
        (5, f"The action is 5; use {ACTIONS}."),
        (-1, f"The action is -1; use {ACTIONS}."),
        (1.0, f"The action is 1.0; give one whole number, {ACTIONS}."),
        ([1, 2], f"The action is [1, 2]; give one whole number, {ACTIONS}."),
        ("up", f"The action is 'up'; give one whole number, {ACTIONS}."),
        (True, f"The action is True; give one whole number, {ACTIONS}."),
    ],
)
def test_bad_actions_are_refused(action, sentence):
    env = KeysAndChestsEnv(level=LEVEL)
    env.reset()
    with pytest.raises(ContractError) as caught:
        env.step(action)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "actions, sentence",
    [
        ([0, 5], f"An action is 5; use {ACTIONS}."),
        (
            [0],
            "The actions have shape [1] and type int64; give 2 whole numbers, one for "
            "each environment.",
        ),
        (
            [0.0, 1.0],
            "The actions have shape [2] and type float64; give 2 whole numbers, one "
            "for each environment.",
        ),
    ],
)
def test_bad_batches_of_actions_are_refused(actions, sentence):
    batch = KeysAndChestsVectorEnv(2, level=LEVEL)
    batch.reset()
    with pytest.raises(ContractError) as caught:
        batch.step(np.array(actions))
    assert str(caught.value) == sentence


def test_misuse_is_refused():
    single, batch = (
        KeysAndChestsEnv(level=LEVEL),
        KeysAndChestsVectorEnv(2, level=LEVEL),
    )
    for env, action in ((single, 4), (batch, np.array([4, 4]))):
        with pytest.raises(ContractError, match="call reset first"):
            env.step(action)
        with pytest.raises(ConfigError, match="the only option is 'level'"):
            env.reset(options={"levle": LEVEL})
        with pytest.raises(LevelError, match="was made for 4 x 7"):
            env.reset(options={"level": "###\n#@#\n###"})
    with pytest.raises(ConfigError, match="3 seeds for 2 environments"):
        batch.reset(seed=[1, 2, 3])
    with pytest.raises(LevelError, match="3 levels were given for 2"):
        batch.reset(options={"level": [LEVEL] * 3})
    with pytest.raises(ConfigError, match="use 'NextStep' or 'SameStep'"):
        KeysAndChestsVectorEnv(2, level=LEVEL, autoreset_mode=AutoresetMode.DISABLED)
    for mode in ("ansi", "rgb_array"):
        with pytest.raises(MalgenError, match="render was called before reset"):
            KeysAndChestsEnv(level=LEVEL, render_mode=mode).render()


def test_levels_that_cannot_be_solved_are_refused():
    env = KeysAndChestsEnv(size=7, num_keys=3, num_chests=3)
    strict = type(env._setting.levels)(
        7, 7, num_keys=3, num_chests=3, solvable_within=1
    )
    env._setting = env._setting._replace(levels=strict)
    with pytest.raises(LevelError, match="1 of 1 levels cannot be completed within 1"):
        env.reset(seed=0)
