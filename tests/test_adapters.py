"""Actors: what each kind of foreign policy is asked, and what it answers."""

import contextlib
import io
import os
import pickle
import signal
import sys
import threading
import time
import zipfile

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

import malgen  # noqa: F401 - registers the environment
from malgen.adapters.actor import Actor, Choices
from malgen.adapters.actors import as_actor
from malgen.adapters.layout import laid_out, layout
from malgen.adapters.policies import as_policy
from malgen.adapters.run_limit import RunLimit
from malgen.adapters.time_limit import time_limit
from malgen.adapters.views import (
    observation_shape,
    parse_view,
    seen_by_each,
    view_of,
)
from malgen.errors import ConfigError, ContractError, ForeignError
from malgen.streams import stream

FIVE = spaces.Discrete(5)
PLANES = spaces.MultiBinary((9, 9, 7))
SIZE = (9, 9)
NUMBER = 6


def rng(seed=0):
    return np.random.default_rng(seed)


def some(space=PLANES, number=NUMBER, seed=3):
    return rng(seed).integers(0, 2, (number, *space.shape)).astype(bool)


def ask(policy, observations=None, space=PLANES, actions=FIVE, greedy=True, **settings):
    actor = as_actor(policy, space, actions, **settings)
    seen = some(space) if observations is None else observations
    starts = np.ones(len(seen), bool)
    return actor.act(seen, actor.begin(len(seen)), starts, rng(), greedy)[0]


# --- views -----------------------------------------------------------------------


@pytest.mark.parametrize("view", ["agent", 1, 5, 11, 21])
def test_a_view_of_the_planes_is_what_the_environment_shows(view):
    whole = gymnasium.make_vec("malgen/KeysAndChests-v0", 8, size=9)
    shown = gymnasium.make_vec("malgen/KeysAndChests-v0", 8, size=9, view=view)
    planes, _ = whole.reset(seed=4)
    expected, _ = shown.reset(seed=4)
    for step in range(30):
        found = seen_by_each(planes.astype(bool), view)
        assert found.shape[1:] == observation_shape(9, 9, view)
        assert (found == expected.astype(bool)).all()
        action = rng(step).integers(0, 5, 8)
        planes, expected = whole.step(action)[0], shown.step(action)[0]


@pytest.mark.parametrize("view", [None, "agent", 1, 7, 11, 15])
@pytest.mark.parametrize("flat", [False, True])
def test_the_view_follows_from_the_shape(view, flat):
    shape = observation_shape(9, 9, view)
    taken = (int(np.prod(shape)),) if flat else shape
    assert view_of(taken, 9, 9, "It") == view


def test_a_crop_that_shows_everything_is_the_lossless_view():
    planes = some()
    planes[..., 1] = False
    planes[:, 4, 2, 1] = True
    assert (seen_by_each(planes, 13) == seen_by_each(planes, "agent")).all()
    assert view_of(observation_shape(9, 9, 13), 9, 9, "It") == "agent"


def test_a_shape_that_is_no_view_or_several_is_told():
    with pytest.raises(ContractError, match=r"shape 4x4x3, which no view of a 9x9"):
        view_of((4, 4, 3), 9, 9, "The policy 'mine'")
    with pytest.raises(ConfigError, match=r"may be any of the views .*--view"):
        view_of((None,), 9, 9, "The policy 'mine'")


def test_views_are_read_from_text():
    assert [parse_view(t) for t in ("none", "agent", "11")] == [None, "agent", 11]
    for bad in ("4", "all", "-3", ""):
        with pytest.raises(ConfigError, match="Unknown view"):
            parse_view(bad)


def test_observations_are_laid_out_as_they_are_taken():
    batch = some()
    assert layout((9, 9, 7), (9, 9, 7)) == "same"
    assert layout((7, 9, 9), (9, 9, 7)) == "planes first"
    assert layout((567,), (9, 9, 7)) == "flat"
    assert layout((566,), (9, 9, 7)) is None
    assert laid_out(batch, "planes first").shape == (NUMBER, 7, 9, 9)
    assert (laid_out(batch, "flat")[2] == batch[2].ravel()).all()
    assert (laid_out(batch, "planes first")[2, 3] == batch[2, :, :, 3]).all()


# --- functions -------------------------------------------------------------------


def test_a_function_is_asked_once_for_each_observation():
    seen = some()
    found = ask(lambda o: int(o.sum()) % 5, seen)
    assert (found.actions == seen.sum(axis=(1, 2, 3)) % 5).all()
    assert found.logits is None


@pytest.mark.parametrize("kind", [int, np.int64, np.float32, np.array, lambda a: [a]])
def test_whole_numbers_of_any_type_are_actions(kind):
    assert ask(lambda o: kind(3)).actions.tolist() == [3] * NUMBER


def test_a_function_may_return_logits():
    actor = as_actor(lambda o: [0.0, 1.0, 2.0, -np.inf, 0.0], PLANES, FIVE)
    assert not actor.offers_logits
    many = 4000
    starts = np.ones(many, bool)
    seen = np.zeros((many, 9, 9, 7), bool)
    found, _ = actor.act(seen, None, starts, rng(), False)
    assert actor.offers_logits and found.logits.shape == (many, 5)
    share = np.bincount(found.actions, minlength=5) / many
    odds = np.exp([0.0, 1.0, 2.0, -np.inf, 0.0])
    assert np.abs(share - odds / odds.sum()).max() < 0.04
    assert (actor.act(seen, None, starts, rng(), True)[0].actions == 2).all()


def test_a_space_that_does_not_start_at_zero():
    space = spaces.Discrete(3, start=7)
    assert ask(lambda o: 9, actions=space).actions.tolist() == [9] * NUMBER
    logits = ask(lambda o: [0.0, 5.0, 0.0], actions=space)
    assert logits.actions.tolist() == [8] * NUMBER
    with pytest.raises(ContractError, match=r"returned the action 6, .*from 7 to 9"):
        ask(lambda o: 6, actions=space)


def test_continuous_actions_and_dictionaries():
    space = spaces.Box(-1, 1, (2,))
    found = ask(lambda o: [0.5, -0.5], actions=space)
    assert found.actions.dtype == np.float32 and found.actions.shape == (NUMBER, 2)
    with pytest.raises(ContractError, match=r"actions of shape \[6, 3\]"):
        ask(lambda o: [0.5, -0.5, 0.0], actions=space)
    parts = spaces.Dict({"a": spaces.Discrete(4), "b": spaces.Box(0, 1, (2,))})
    batch = {"a": np.arange(3), "b": np.zeros((3, 2))}
    actor = as_actor(lambda o: int(o["a"]), parts, FIVE)
    found, _ = actor.act(batch, None, np.ones(3, bool), rng())
    assert found.actions.tolist() == [0, 1, 2]


def test_each_row_of_nested_observations_is_one_observation():
    place = spaces.Box(0, 9, (2,), np.float32)
    space = spaces.Dict(
        {
            "in": spaces.Dict({"at": place}),
            "both": spaces.Tuple((spaces.Discrete(9), place)),
        }
    )
    single = [space.sample() for _ in range(3)]
    for kind, each in (
        (space, single),
        (space["both"], [one["both"] for one in single]),
        (spaces.Tuple((spaces.Discrete(9),) * 3), [*map(tuple, np.eye(3, dtype=int))]),
        (spaces.Text(4), ["ab", "c", "d"]),
    ):
        seen = []
        actor = as_actor(lambda one, seen=seen: len(seen.append(one) or seen), kind)
        stacked = concatenate(kind, each, create_empty_array(kind, n=3))
        actor.act(stacked, None, np.ones(3, bool), rng())
        assert all(kind.contains(one) for one in seen)
        assert str(seen) == str(each)


@pytest.mark.parametrize(
    ("space", "good", "bad"),
    [
        (spaces.MultiDiscrete([3, 2]), [2.0, 0.0], [2.9, -0.9]),
        (spaces.MultiDiscrete([3, 2], start=[1, 1]), [3, 2], [0, 1]),
        (spaces.MultiBinary(2), [True, False], [0.5, 1.0]),
        (spaces.MultiBinary(2), [1, 0], [2, 0]),
        (spaces.Box(-5, 5, (2,), np.int16), [-5.0, 5], [1.5, 0.0]),
        (spaces.Box(0, 255, (2,), np.uint8), [255, 0], [256, 0]),
    ],
)
def test_whole_numbers_are_not_made_of_others(space, good, bad):
    assert ask(lambda one: good, actions=space).actions.tolist() == [good] * NUMBER
    with pytest.raises(
        ContractError, match="has fractions; return a member of"
    ) as told:
        ask(lambda one: bad, actions=space)
    assert str(bad) in str(told.value)


def test_each_call_has_the_whole_time_limit_to_itself():
    def slow(observation):
        time.sleep(0.04)
        return 0

    # together they take longer than the limit of one
    assert len(ask(slow, seconds=0.15).actions) == NUMBER

    def hangs(observation):
        time.sleep(60)

    with pytest.raises(ForeignError, match=r"'hangs' did not answer within 0\.1 sec"):
        ask(hangs, seconds=0.1)


def test_a_policy_that_catches_everything_is_stopped_all_the_same():
    asked = []

    def retries(observation):
        while True:
            try:
                time.sleep(60)
            except:  # noqa: E722
                time.sleep(60)

    def goes_on(observation):
        asked.append(1)
        if len(asked) == 3:
            with contextlib.suppress(BaseException):
                time.sleep(60)
        return 0

    def says_otherwise(observation):
        try:
            time.sleep(60)
        except BaseException:
            raise RuntimeError("the server is away") from None

    for policy, row in ((retries, 0), (goes_on, 2), (says_otherwise, 0)):
        with pytest.raises(ForeignError, match=r"within 0\.1 seconds") as caught:
            ask(policy, seconds=0.1)
        assert caught.value.row == row


def test_a_limit_ends_with_its_body_and_an_outer_one_goes_on():
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with (
        pytest.raises(ForeignError, match="outer did not answer"),
        time_limit("outer", 0.2),
    ):
        with contextlib.suppress(ForeignError), time_limit("inner", 0.02):
            time.sleep(60)
        with time_limit("inner", 60):
            pass
        time.sleep(60)
    assert abs(signal.getitimer(signal.ITIMER_REAL)[0] - before) < 1
    with time_limit("short", 0.02):
        pass
    time.sleep(0.05)  # nothing is raised here


def test_an_actor_is_taken_as_it_is():
    class Mine(Actor):
        name = "mine"

        def act(self, observations, memory, starts, rng, greedy=False):
            return Choices(actions=np.zeros(len(starts), int)), memory

    mine = Mine()
    assert as_actor(mine, PLANES, FIVE) is mine
    assert as_policy(mine, SIZE).name == "mine"


# --- module:factory --------------------------------------------------------------

MODULE = """
import numpy as np

ANSWERS = 3

def policy(observation):
    return ANSWERS

def factory():
    return policy

class Model:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.full(len(observation), 2), state

ready = Model()

def raises():
    raise RuntimeError("no weights\\nsecond line")

def stops():
    raise SystemExit(3)

def path():
    return "missing.onnx"

class Group:
    factory = factory
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"policies_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken_one.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    yield name
    for loaded in (name, "broken_one"):
        sys.modules.pop(loaded, None)


def test_a_factory_is_imported_from_the_working_folder(module):
    before = list(sys.path)
    assert ask(f"{module}:factory").actions.tolist() == [3] * NUMBER
    assert ask(f"{module}:Model").actions.tolist() == [2] * NUMBER
    assert ask(f"{module}:ready").actions.tolist() == [2] * NUMBER
    assert ask(f"{module}:Group.factory").actions.tolist() == [3] * NUMBER
    assert sys.path == before
    assert as_policy(f"{module}:factory", SIZE).name == f"{module}:factory"


@pytest.mark.parametrize(
    "attribute, kind, expected",
    [
        (
            "raises",
            ForeignError,
            "raised RuntimeError .*: no weights in policies_.*, l",
        ),
        ("stops", ForeignError, "raised SystemExit when it was called"),
        ("policy", ForeignError, "raised TypeError when .*missing 1 required"),
        ("ANSWERS", ContractError, ":ANSWERS is of type int and cannot act"),
        ("nothing", ConfigError, "has no nothing; give the name of a function"),
        ("path", ConfigError, r"There is no file missing\.onnx"),
        ("a b", ConfigError, "names no policy; write package.module:factory"),
    ],
)
def test_a_factory_that_fails_is_told_in_one_sentence(
    module, attribute, kind, expected
):
    with pytest.raises(kind, match=expected) as caught:
        ask(f"{module}:{attribute}")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_module_that_is_not_there_is_told_apart_from_one_that_fails(module):
    with pytest.raises(ConfigError, match="There is no module not_a_module"):
        ask("not_a_module:factory")
    with pytest.raises(ForeignError, match="broken_one:x raised ModuleNotFoundError"):
        ask("broken_one:x")


# --- files that run code ---------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return os.mkdir, (Bomb.target,)


@pytest.fixture
def bomb(tmp_path):
    """Bytes that make a folder when they are unpickled, and that folder."""
    Bomb.target = str(tmp_path / "made")
    return pickle.dumps(Bomb()), tmp_path / "made"


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "pt", "pth", "ckpt", "joblib"])
def test_a_pickle_is_not_opened_without_trust(tmp_path, bomb, suffix):
    data, made = bomb
    path = tmp_path / f"policy.{suffix}"
    path.write_bytes(data)
    for call in (ask, lambda p: as_policy(p, SIZE)):
        with pytest.raises(ConfigError, match=r"runs code .*ONNX.*--trust"):
            call(path)
    assert not made.exists()
    if suffix in ("pkl", "pickle"):  # that the test could fail
        with pytest.raises(ContractError, match="NoneType and cannot act"):
            ask(path, trust=True)
        assert made.exists()


def test_a_stable_baselines_file_is_not_opened_without_trust(tmp_path, bomb):
    data, made = bomb
    path = tmp_path / "model.zip"
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("data", b"{}")
        archive.writestr("policy.pth", data)
    path.write_bytes(inner.getvalue())
    with pytest.raises(ConfigError, match=r"runs code .*ONNX.*--trust"):
        ask(path)
    assert not made.exists()
    # not there is told before anything else
    with pytest.raises(ConfigError, match="There is no file"):
        ask(tmp_path / "none.zip")


class Lasting:
    def __reduce__(self):
        return time.sleep, (60,)


def test_a_trusted_file_that_does_not_come_back_is_stopped(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(Lasting()))
    with pytest.raises(ForeignError, match=r"Loading .*a\.pkl did not answer") as told:
        ask(path, trust=True, seconds=0.1)
    assert "\n" not in str(told.value)


def test_an_onnx_file_that_is_a_pickle_is_not_run(tmp_path, bomb):
    data, made = bomb
    pytest.importorskip("onnxruntime")
    path = tmp_path / "policy.onnx"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="could not be read as ONNX"):
        ask(path)
    assert not made.exists()


# --- ONNX ------------------------------------------------------------------------


@pytest.fixture
def graphs():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import graphs

    return graphs


def expected_logits(graphs, seen):
    found = seen.reshape(len(seen), -1).astype(np.float32) @ graphs.weights(567)
    return found - found.max(axis=1, keepdims=True)


@pytest.mark.parametrize("batch", ["n", None, 1, 4])
@pytest.mark.parametrize("shape", [(9, 9, 7), (567,)])
def test_an_onnx_file_answers_as_its_graph_says(graphs, tmp_path, batch, shape):
    path = graphs.linear(tmp_path / "a.onnx", shape, batch)
    seen = some()
    found = ask(path, seen)
    expected = expected_logits(graphs, seen)
    assert np.allclose(found.logits, expected, atol=1e-4)
    assert (found.actions == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("dtype", ["FLOAT", "UINT8", "BOOL", "INT64", "DOUBLE"])
def test_observations_are_cast_to_what_the_file_takes(graphs, tmp_path, dtype):
    kind = getattr(graphs.TensorProto, dtype)
    path = graphs.linear(tmp_path / "a.onnx", (9, 9, 7), dtype=kind)
    seen = some()
    expected = expected_logits(graphs, seen)
    assert np.allclose(ask(path, seen).logits, expected, atol=1e-4)


def test_planes_first_are_turned(graphs, tmp_path):
    path = graphs.linear(tmp_path / "a.onnx", (7, 9, 9))
    seen = some()
    expected = expected_logits(graphs, np.moveaxis(seen, -1, 1))
    assert np.allclose(ask(path, seen).logits, expected, atol=1e-4)


def test_probabilities_and_actions_are_told_apart_by_name(graphs, tmp_path):
    seen = some()
    expected = expected_logits(graphs, seen)
    odds = graphs.linear(
        tmp_path / "a.onnx", (567,), names=("obs", "probs"), then="Softmax"
    )
    found = ask(odds, seen)
    log = expected - np.log(np.exp(expected).sum(axis=1, keepdims=True))
    rows = log - log.max(axis=1, keepdims=True)
    assert np.allclose(np.maximum(found.logits, -40), np.maximum(rows, -40), atol=1e-2)
    path = graphs.linear(
        tmp_path / "b.onnx", (567,), names=("obs", "action"), then="ArgMax"
    )
    found = ask(path, seen)
    assert found.logits is None and not as_actor(path, PLANES, FIVE).offers_logits
    assert (found.actions == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_a_recurrent_onnx_file_keeps_its_memory(graphs, tmp_path, batch):
    path = graphs.counting(tmp_path / "a.onnx", 567, batch)
    actor = as_actor(path, PLANES, FIVE)
    assert not actor.memoryless and actor.offers_logits
    seen = some()
    plain = seen.reshape(NUMBER, -1).astype(np.float32) @ graphs.weights(567)
    memory, steps = actor.begin(NUMBER), np.zeros(NUMBER)
    for step in range(4):
        starts = np.zeros(NUMBER, bool)
        starts[step % 3 :: 3] = step > 0
        steps = np.where(starts, 1, steps + 1)
        kept = memory.copy()
        found, following = actor.act(seen, memory, starts, rng(), True)
        assert (memory == kept).all()  # whoever asks again gets the same answer
        memory = following
        expected = plain * steps[:, None]
        expected = expected - expected.max(axis=1, keepdims=True)
        assert np.allclose(found.logits, np.maximum(expected, -100), atol=1e-3)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"shape": (566,)}, r"takes observations of shape \[566\], but here .*9, 9, 7"),
        ({"actions": 4}, "gives logits of shape .*4.*there are 5 actions here"),
        ({"names": ("obs", "logits"), "nan": True}, "returned NaN"),
        ({"names": ("obs", "probs")}, "returned probabilities that are negative or do"),
    ],
)
def test_an_onnx_file_that_does_not_fit_is_told(graphs, tmp_path, change, expected):
    shape = change.get("shape", (567,))
    matrix = graphs.weights(shape[0], change.get("actions", 5))
    if change.get("nan"):
        matrix[:] = np.nan
    path = graphs.linear(
        tmp_path / "a.onnx",
        shape,
        matrix=matrix,
        names=change.get("names", ("obs", "logits")),
    )
    with pytest.raises(ContractError, match=expected) as caught:
        ask(path)
    assert "\n" not in str(caught.value)


def test_other_inputs_and_outputs_are_told(graphs, tmp_path):
    helper, FLOAT = graphs.helper, graphs.FLOAT
    three = graphs.write(
        tmp_path / "a.onnx",
        [helper.make_node("Sum", ["a", "b", "c"], ["logits"])],
        [(name, FLOAT, ["n", 5]) for name in "abc"],
        [("logits", FLOAT, ["n", 5])],
    )
    with pytest.raises(ContractError, match=r"takes a \[any, 5\], b .*; a policy"):
        ask(three)
    nothing = graphs.linear(tmp_path / "b.onnx", (567,), matrix=graphs.weights(567, 9))
    with pytest.raises(ContractError, match="there are 5 actions here"):
        ask(nothing)
    other = graphs.linear(
        tmp_path / "c.onnx", (567,), matrix=graphs.weights(567, 9), names=("obs", "q")
    )
    with pytest.raises(ContractError, match=r"gives q \[any, 9\], so no logits"):
        ask(other)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_onnx_file_is_told(graphs, tmp_path, share):
    path = graphs.linear(tmp_path / "a.onnx", (9, 9, 7))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises((ConfigError, ContractError)) as caught:
        ask(path)
    assert "\n" not in str(caught.value) and "a.onnx" in str(caught.value)


def test_an_onnx_file_that_does_not_come_back_is_stopped(graphs, tmp_path, capfd):
    seen, starts = np.zeros((2, 3), np.float32), np.ones(2, bool)
    short = as_actor(graphs.looping(tmp_path / "a.onnx", 3, 10), seconds=0.3)
    assert not short.act(seen, None, starts, rng())[0].logits.any()
    time.sleep(0.5)  # longer than the limit, but between two calls
    assert not short.act(seen, None, starts, rng())[0].logits.any()
    long = as_actor(graphs.looping(tmp_path / "b.onnx", 3, 2**60), seconds=0.3)
    for _ in range(2):  # and the same when it is asked again
        began = time.monotonic()
        with pytest.raises(ForeignError, match=r"b.onnx' did not answer within 0\.3 s"):
            long.act(seen, None, starts, rng())
        assert 0.3 <= time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


def test_the_limit_of_a_run_counts_from_its_own_start():
    stopped = threading.Event()
    limit = RunLimit(0.4, stopped.set)
    with limit:
        pass
    time.sleep(0.3)
    began = time.monotonic()
    with limit:  # the thread that waits looks in 0.1 seconds from now
        assert stopped.wait(5)
    assert time.monotonic() - began >= 0.4 and limit.is_up
    with limit:
        assert not limit.is_up


def test_an_onnx_file_that_fails_says_so_in_one_place(graphs, tmp_path, capfd):
    actor = as_actor(graphs.out_of_bounds(tmp_path / "a.onnx", 3))
    with pytest.raises(ForeignError, match=r"a.onnx' could not be run: .*bounds"):
        actor.act(np.zeros((2, 3), np.float32), None, np.ones(2, bool), rng())
    assert capfd.readouterr() == ("", "")  # not by onnxruntime too


def test_onnxruntime_missing_is_one_sentence(graphs, tmp_path, monkeypatch):
    path = graphs.linear(tmp_path / "a.onnx", (9, 9, 7))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'malgen\[onnx\]'"):
        ask(path)


# --- predict ---------------------------------------------------------------------


class Model:
    """Counts in its state; draws from its own generator unless deterministic."""

    observation_space = PLANES
    action_space = FIVE

    def __init__(self):
        self.calls = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls.append((observation.shape, episode_start.tolist(), deterministic))
        state = np.zeros(len(observation)) if state is None else state
        state = np.where(episode_start, 0, state) + 1
        if deterministic:
            return (state % 5).astype(int), state
        return np.random.default_rng().integers(0, 5, len(observation)), state


def test_predict_gets_whole_batches_its_state_and_the_starts():
    model = Model()
    actor = as_actor(model, PLANES, FIVE)
    assert not actor.memoryless and not actor.offers_logits
    memory = actor.begin(3)
    starts = [[True] * 3, [False] * 3, [False, True, False]]
    found = []
    for each in starts:
        choices, memory = actor.act(some(number=3), memory, np.array(each), rng(), True)
        found.append(choices.actions.tolist())
    assert found == [[1, 1, 1], [2, 2, 2], [3, 1, 3]]
    assert model.calls == [((3, 9, 9, 7), each, True) for each in starts]


@pytest.mark.parametrize(
    "answer, kind, expected",
    [
        (np.full(NUMBER, np.nan), ContractError, "returned NaN"),
        (np.full(NUMBER, 5), ContractError, "returned the action 5, which is out of"),
        (np.full(NUMBER, 1.5), ContractError, r"the action 1\.5, expected a whole"),
        (np.zeros(NUMBER - 1, int), ContractError, r"actions of shape \[5\] for 6 obs"),
        (np.zeros((NUMBER, 2), int), ContractError, r"actions of shape \[6, 2\] for 6"),
        (np.array(["up"] * NUMBER), ContractError, "returned .*'up'.*expected an act"),
        (None, ContractError, "returned NoneType None, expected an action"),
    ],
)
def test_bad_predictions_are_told(answer, kind, expected):
    class Bad:
        def predict(self, observation, state, episode_start, deterministic):
            return answer, None

    with pytest.raises(kind, match=expected) as caught:
        ask(Bad())
    assert "\n" not in str(caught.value)


def test_another_predict_is_refused():
    class Pipeline:
        def predict(self, X):
            return np.zeros(len(X), int)

    class Alone:
        def __init__(self, answer):
            self.answer = answer

        def predict(self, observation, **more):
            return self.answer

    with pytest.raises(ContractError, match=r"has predict\(X\), expected predict\(obs"):
        ask(Pipeline())
    for answer in (np.zeros(2, int), (0, 0, 0)):
        expected = rf"returned {type(answer).__name__} .* pair \(actions, state"
        with pytest.raises(ContractError, match=expected):
            ask(Alone(answer))


def test_a_model_that_remembers_its_normalization_is_refused(sb3):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def floats():
        return gymnasium.wrappers.TransformObservation(
            environment(),
            lambda seen: seen.astype(np.float32),
            spaces.Box(0, 1, PLANES.shape, np.float32),
        )

    def model(**settings):
        env = VecNormalize(DummyVecEnv([floats]), **settings)
        return sb3.A2C("MlpPolicy", env, device="cpu")

    with pytest.raises(ContractError, match="trained behind VecNormalize"):
        as_policy(model(), SIZE)
    assert as_policy(model(norm_obs=False), SIZE).view is None


def test_a_model_of_other_spaces_is_refused():
    model = Model()
    with pytest.raises(ContractError, match=r"takes observations of shape \[9, 9, 7\]"):
        as_actor(model, spaces.Box(0, 1, (4,)), FIVE)
    parts = spaces.Dict({"a": spaces.Discrete(3)})
    with pytest.raises(ContractError, match=r"7\], but here they are of several arr"):
        as_actor(model, parts, FIVE)
    with pytest.raises(ContractError, match=r"has the action space Discrete\(5\)"):
        as_actor(model, PLANES, spaces.Discrete(4))
    with pytest.raises(ContractError, match=r"has the action space Discrete\(5\)"):
        as_actor(model, PLANES, spaces.Box(-1, 1, (5,)))
    with pytest.raises(ContractError, match="takes observations of shape 9x9x7, whi"):
        as_policy(model, (13, 13))


@pytest.fixture(scope="module")
def sb3():
    pytest.importorskip("torch")
    return pytest.importorskip("stable_baselines3")


def environment(view=None, **settings):
    return gymnasium.make("malgen/KeysAndChests-v0", size=9, view=view, **settings)


def distribution(model, seen):
    import torch

    with torch.no_grad():
        tensor, _ = model.policy.obs_to_tensor(seen)
        found = model.policy.get_distribution(tensor).distribution.probs
    return found.numpy()


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["PPO", "A2C"])
@pytest.mark.parametrize("view", [None, "agent", 5])
def test_logits_are_the_models_own_distribution(sb3, name, view):
    model = getattr(sb3, name)("MlpPolicy", environment(view), device="cpu", seed=1)
    policy = as_policy(model, SIZE)
    assert policy.offers_logits and policy.memoryless and policy.view == view
    planes = some()
    planes[..., 1] = False
    planes[:, 3, 5, 1] = True
    logits, _ = policy.act(rng(), planes, None)
    seen = seen_by_each(planes, view)
    assert np.allclose(softmax(logits), distribution(model, seen), atol=1e-5)
    greedy, _ = policy.greedy().act(rng(), planes, None)
    expected, _ = model.predict(seen, deterministic=True)
    assert (greedy.argmax(axis=1) == expected).all()


def test_a_flattened_model_sees_what_its_wrapper_showed(sb3):
    env = gymnasium.wrappers.FlattenObservation(environment("agent"))
    model = sb3.PPO("MlpPolicy", env, device="cpu", seed=1)
    policy = as_policy(model, SIZE)
    assert policy.view == "agent"
    whole, _ = environment().reset(seed=5)
    flat, _ = env.reset(seed=5)
    logits, _ = policy.act(rng(), whole[None].astype(bool), None)
    assert np.allclose(softmax(logits), distribution(model, flat[None]), atol=1e-5)


def test_dqn_gives_actions_only_and_does_not_explore(sb3):
    model = sb3.DQN("MlpPolicy", environment(), device="cpu", buffer_size=10, seed=1)
    model.exploration_rate = 1.0
    actor = as_actor(model, PLANES, FIVE)
    assert actor.memoryless and not actor.offers_logits
    seen, random = some(), rng()
    before = random.bit_generator.state
    found, _ = actor.act(seen, None, np.ones(NUMBER, bool), random)
    assert (found.actions == model.predict(seen, deterministic=True)[0]).all()
    assert found.logits is None and random.bit_generator.state == before


def test_recurrent_ppo_keeps_its_memory_and_hears_of_starts(sb3):
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.RecurrentPPO(
        "MlpLstmPolicy",
        environment("agent"),
        device="cpu",
        seed=1,
        policy_kwargs={"lstm_hidden_size": 8, "ortho_init": False},
    )
    space = spaces.MultiBinary(observation_shape(9, 9, "agent"))
    actor = as_actor(model, space, FIVE)
    assert not actor.memoryless and actor.offers_logits
    together = actor.begin(NUMBER)
    states, alone, forgetful = [None] * NUMBER, [], []
    found = []
    for step in range(5):
        seen = some(space, seed=step)
        starts = np.full(NUMBER, step == 0)
        starts[step % NUMBER] = True
        choices, together = actor.act(seen, together, starts, rng(), True)
        found.append(choices.logits)
        rows, fresh = [], []
        for i in range(NUMBER):
            row, states[i] = by_hand(model, seen[i], states[i], starts[i])
            rows.append(row)
            fresh.append(by_hand(model, seen[i], None, True)[0])
        alone.append(rows)
        forgetful.append(fresh)
    found, alone = softmax(np.concatenate(found)), np.concatenate(alone)
    assert np.allclose(found, alone, atol=1e-5)
    # that a memory makes a difference here at all
    assert np.abs(found - np.concatenate(forgetful)).max() > 1e-3


def by_hand(model, seen, state, start):
    """Probabilities for one observation, and the next state of the LSTM."""
    import torch

    policy = model.policy
    shape = policy.lstm_hidden_state_shape
    state = state or (torch.zeros(shape), torch.zeros(shape))
    with torch.no_grad():
        tensor, _ = policy.obs_to_tensor(seen[None])
        begun = torch.tensor([float(start)])
        found, state = policy.get_distribution(tensor, state, begun)
    return found.distribution.probs.numpy()[0], state


def test_continuous_models_draw_the_same_with_the_same_seed(sb3):
    import torch

    env = gymnasium.make("Pendulum-v1")
    model = sb3.PPO("MlpPolicy", env, device="cpu", seed=1)
    actor = as_actor(model, env.observation_space, env.action_space)
    seen = np.stack([env.observation_space.sample() for _ in range(3)])
    starts = np.ones(3, bool)
    state = torch.random.get_rng_state()
    one, two, other = (
        actor.act(seen, None, starts, rng(seed))[0].actions for seed in (1, 1, 2)
    )
    assert (one == two).all() and (one != other).all()
    assert (torch.random.get_rng_state() == state).all()
    sure, _ = actor.act(seen, None, starts, rng(), True)
    assert (sure.actions == model.predict(seen, deterministic=True)[0]).all()


@pytest.mark.parametrize("name", ["PPO", "A2C", "DQN", "RecurrentPPO"])
def test_trusted_files_of_stable_baselines_are_read(sb3, tmp_path, name):
    library = sb3
    settings = {"device": "cpu", "seed": 1}
    if name == "DQN":
        settings["buffer_size"] = 10
    policy = "MlpPolicy"
    if name == "RecurrentPPO":
        library = pytest.importorskip("sb3_contrib")
        policy = "MlpLstmPolicy"
        settings["policy_kwargs"] = {"lstm_hidden_size": 8}
    model = getattr(library, name)(policy, environment(), **settings)
    model.save(tmp_path / "model.zip")
    seen = some()
    found = ask(tmp_path / "model.zip", seen, trust=True)
    expected, _ = model.predict(
        seen, episode_start=np.ones(NUMBER, bool), deterministic=True
    )
    assert (found.actions == expected).all()


def test_a_damaged_trusted_file_is_told(sb3, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises((ConfigError, ForeignError)) as caught:
        ask(path, trust=True)
    assert "\n" not in str(caught.value) and "model.zip" in str(caught.value)


# --- on malgen's worlds ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_same_policy_in_three_forms_plays_the_same_episodes(sb3, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from malgen.rollout import collect
    from malgen.scenarios import find_scenario
    from malgen.worlds.keys_and_chests import sample_levels

    model = sb3.PPO(
        "MlpPolicy",
        environment("agent"),
        device="cpu",
        seed=1,
        policy_kwargs={"ortho_init": False},
    )

    class Logits(torch.nn.Module):
        def forward(self, obs):
            policy = model.policy
            seen = policy.extract_features(obs, policy.pi_features_extractor)
            return policy.action_net(policy.mlp_extractor.forward_actor(seen))

    path = tmp_path / "policy.onnx"
    shape = observation_shape(9, 9, "agent")
    example = torch.zeros((2, *shape))
    torch.onnx.export(
        Logits().eval(),
        (example,),
        path,
        input_names=["obs"],
        output_names=["logits"],
        dynamic_shapes={"obs": {0: torch.export.Dim("n")}},
        dynamo=True,
        verbose=False,
    )

    def logits(observation):
        with torch.no_grad():
            return Logits()(torch.as_tensor(observation[None]).float()).numpy()[0]

    where = find_scenario("keys-and-chests-small").deployment()
    levels = sample_levels(stream(3), where.levels, 16)
    policies = [
        as_policy(model, SIZE),
        as_policy(path, SIZE),
        as_policy(logits, SIZE, view="agent"),
    ]
    played = []
    for policy in policies:
        assert policy.view == "agent"
        policy.act(rng(), some(), policy.initial_carry(NUMBER))
        assert policy.offers_logits
        found = collect(stream(4), where.world, policy, levels, where.horizon)
        played.append(np.asarray(found.actions))
    assert (played[0] == played[1]).all() and (played[0] == played[2]).all()
    assert len(np.unique(played[0])) == 5
