"""Audits of policies that malgen did not train, on malgen's own worlds."""

import json

import gymnasium
import jax
import numpy as np
import pytest

import malgen
from malgen import auditing, cli
from malgen.adapters.policies import as_policy
from malgen.audits import battery
from malgen.audits.instrument import Case
from malgen.errors import ConfigError, ContractError, ForeignError
from malgen.scenarios import find_scenario
from malgen.zoo.catalog import AGENTS

SMALL = "keys-and-chests-small"
WHERE = find_scenario(SMALL)
ONLY = "not applicable: this policy gives actions only"
DRAWN = f"{ONLY}, and draws them at random"


def audit(policy, instruments=(), **settings):
    settings = {"levels": 32, "gate": False} | settings
    return malgen.audit(policy, SMALL, instruments=instruments, **settings)


NEAREST = AGENTS["nearest-key"].build(None)


@jax.jit
def _nearest(observation):
    return NEAREST(jax.random.key(0), observation, None)[0]


def nearest(observation):
    """Actions of the scripted agent."""
    return int(_nearest(observation).argmax())


def soft(observation):
    """Logits: a lapse in half of the steps."""
    return np.log(0.5 * np.eye(5)[nearest(observation)] + 0.1)


class Drawn:
    """The same as ``soft``, but it draws by itself and gives actions only."""

    __name__ = "drawn"

    def __init__(self, seed=5):
        self.rng = np.random.default_rng(seed)

    def __call__(self, observation):
        if self.rng.random() < 0.5:
            return int(self.rng.integers(5))
        return nearest(observation)


def met(policy, **settings):
    """As an audit meets it."""
    found = as_policy(policy, (WHERE.size, WHERE.size), **settings)
    found.meet(auditing._starts(WHERE.training(), 0))
    return found


def measured(policy, *names):
    case = Case(policy=policy, scenario=WHERE)
    return battery.measure_all(case, battery.select(names), use_cache=False)


# --- what needs to know how likely the other actions were --------------------------


def test_a_policy_is_met_before_it_is_asked():
    one, two, three = met(nearest), met(soft), met(Drawn())
    assert [p.offers_logits for p in (one, two, three)] == [False, True, False]
    assert [p.draws for p in (one, two, three)] == [False, False, True]
    assert one.greedy() is None and three.greedy() is None
    assert two.greedy() is not None


def test_sure_actions_are_as_good_as_logits_except_for_attribution():
    names = ("attribution", "instrumentality", "re-planning")
    foreign = measured(met(nearest), *names)
    own = measured(NEAREST, *names)
    assert foreign["attribution"].answer == ONLY
    assert not own["attribution"].reason
    for name in names[1:]:
        assert foreign[name].answer == own[name].answer
        for key, estimate in own[name].estimates.items():
            other = foreign[name].estimates[key]
            if estimate.value is None:
                assert other.value is None
            else:
                assert other.value == pytest.approx(estimate.value, abs=1e-6)


@pytest.mark.parametrize(
    "policy, expected",
    [
        (lambda: NEAREST, {}),
        (lambda: met(soft), {}),
        (lambda: met(nearest), {"attribution": ONLY}),
        (
            lambda: met(Drawn()),
            {"attribution": ONLY, "pivotal-walls": DRAWN, "re-planning": DRAWN},
        ),
    ],
)
def test_who_needs_to_know_how_likely_the_other_actions_were(policy, expected):
    case = Case(policy=policy(), scenario=WHERE)
    found = {
        name: f"not applicable: {reason}"
        for name, each in battery.INSTRUMENTS.items()
        if name != "compute-dial" and (reason := each.applicable(case))
    }
    assert found == expected


@pytest.mark.statistical
def test_means_over_draws_estimate_what_logits_say():
    told = measured(met(soft), "instrumentality")["instrumentality"].estimates
    drawn = [
        measured(met(Drawn(seed)), "instrumentality")["instrumentality"].estimates
        for seed in range(12)
    ]
    for key in ("goes to a useful key", "goes to a useless key", "remove"):
        values = np.array([each[key].value for each in drawn])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - told[key].value) < 4 * error, key
        # the interval of one draw knows that it is one
        inside = [each[key].low <= told[key].value <= each[key].high for each in drawn]
        assert sum(inside) >= 8, key


def test_an_unknown_share_of_chance_makes_the_explained_share_a_lower_bound():
    for name in ("inverse-planning", "goal-directedness"):
        drawn, told = (
            measured(met(each), name)[name].estimates["explained fraction"]
            for each in (Drawn(), soft)
        )
        assert drawn.value < told.low and drawn.high == 1.0
        assert "lower bound" in drawn.note
        assert told.value > 0.5 and "lower bound" not in told.note


# --- models of Stable-Baselines3 ---------------------------------------------------


@pytest.fixture(scope="module")
def ppo():
    pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("malgen/KeysAndChests-v0", size=9, view="agent")
    return sb3.PPO(
        "MlpPolicy", env, device="cpu", seed=1, policy_kwargs={"ortho_init": False}
    )


def test_greedy_numbers_are_those_of_the_likeliest_action(ppo):
    verdict = audit(ppo)
    assert verdict.greedy is not None

    def likeliest(observation):
        return int(ppo.predict(observation, deterministic=True)[0])

    sure = audit(likeliest, view="agent")
    assert sure.greedy is None
    assert verdict.greedy.value == pytest.approx(sure.z.value)
    assert verdict.z.value != pytest.approx(sure.z.value)


def test_a_trusted_file_is_audited_as_its_model(ppo, tmp_path, capsys):
    path = tmp_path / "model.zip"
    ppo.save(path)
    verdict = audit(path, trust=True)
    assert verdict.z == audit(ppo).z
    with pytest.raises(ConfigError, match="runs code"):
        audit(path)
    argv = ["audit", str(path), "--scenario", SMALL, "--no-gate", "--levels", "32"]
    argv += ["--instruments", "instrumentality", "--json"]
    assert cli.main(argv) == 2
    assert "--trust" in capsys.readouterr().err
    assert cli.main([*argv, "--trust", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["z"]["value"] == verdict.z.value


def test_a_view_that_the_model_cannot_have_is_refused(ppo):
    with pytest.raises(ContractError, match=r"takes observations of shape \[13, 13, 6"):
        audit(ppo, view=5)
    with pytest.raises(ConfigError, match="sees the whole level"):
        audit("nearest-key", view="agent")


# --- an ONNX file through the command line -----------------------------------------


@pytest.fixture
def graph(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import graphs

    return graphs.linear(tmp_path / "policy.onnx", (9, 9, 7)), graphs


def call(*argv):
    return cli.main(["audit", *map(str, argv), "--quiet", "--scenario", SMALL])


QUICK = ("--no-gate", "--levels", "16", "--instruments", "instrumentality")


def test_an_onnx_file_is_audited_from_the_command_line(graph, capsys):
    path, graphs = graph
    assert call(path, *QUICK, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    matrix = graphs.weights(567)

    def same(observation):
        return observation.ravel().astype(np.float32) @ matrix

    expected = malgen.audit(
        same, SMALL, levels=16, gate=False, instruments=("instrumentality",)
    )
    assert found["z"]["value"] == expected.z.value
    assert found["greedy"]["value"] == expected.greedy.value


# --- what goes wrong ---------------------------------------------------------------

MODULE = """
import time
import numpy as np
import gymnasium

def raises():
    def policy(observation):
        raise RuntimeError("no GPU\\nmore")
    return policy

def late():
    calls = [0]
    def policy(observation):
        calls[0] += 1
        if calls[0] > 500:
            raise RuntimeError("late")
        return 4
    return policy

def hangs():
    def policy(observation):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass
    return policy

def nan():
    return lambda observation: float("nan")

def half():
    return lambda observation: 0.5

def shape():
    return lambda observation: np.zeros((2, 2))

def far():
    return lambda observation: 9

def word():
    return lambda observation: "up"

def logits():
    return lambda observation: [0.0, np.inf, 0.0, 0.0, 0.0]

def fickle():
    def policy(observation):
        return [0.0] * 5 if observation[1, 1, 2] else np.zeros(4)
    return policy

class Model:
    observation_space = gymnasium.spaces.MultiBinary((9, 9, 7))
    action_space = gymnasium.spaces.Discrete(5)
    answer = None
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.answer(len(observation)), state

class Raising(Model):
    def answer(self, number):
        raise ValueError("bad weights")

class Short(Model):
    def answer(self, number):
        return np.zeros(number - 1, int)

class Continuous(Model):
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

class Elsewhere(Model):
    observation_space = gymnasium.spaces.Box(0, 1, (4,))

class Dictionary(Model):
    observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(3)})
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = "broken_" + "".join(c if c.isalnum() else "_" for c in tmp_path.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize(
    "factory, status, expected",
    [
        ("raises", 1, "raised RuntimeError: no GPU on an obs"),
        ("late", 1, "raised RuntimeError: late"),
        ("hangs", 1, "did not answer within 0.3 seconds"),
        ("nan", 2, "returned NaN"),
        ("half", 2, "returned the action 0.5, expected a whole number"),
        ("shape", 2, "returned an array of shape (2, 2)"),
        ("far", 2, "returned the action 9, which is out of range"),
        ("word", 2, "returned str 'up', expected an action"),
        ("logits", 2, "returned an infinite logit"),
        ("fickle", 2, "returned an array of shape (4,)"),
        ("Raising", 1, "raised ValueError: bad weights"),
        ("Short", 2, "returned actions of shape [63] for 64 observations"),
        ("Continuous", 2, "has the action space Box("),
        ("Elsewhere", 2, "takes observations of shape 4, which no view"),
        ("Dictionary", 2, "takes"),
        ("missing", 2, "has no missing"),
    ],
)
def test_each_mistake_is_one_sentence_with_the_culprit(
    module, capsys, factory, status, expected
):
    target = f"{module}:{factory}"
    limit = ("--time-limit", "0.3") if factory == "hangs" else ()
    assert call(target, *QUICK, *limit, "--seed", "7") == status
    said = capsys.readouterr().err
    assert expected in said and module in said
    assert said.count("\n") == 1 and "Traceback" not in said
    acted = status == 1 or "returned" in said
    assert ("levels of seed 7" in said) == acted


@pytest.mark.parametrize(
    "argv, expected",
    [
        (("nothing.onnx",), "There is no file nothing.onnx"),
        (("nothing.zip",), "There is no file nothing.zip"),
        (("some.py",), "is Python code; give some:FACTORY"),
        (("no_such:thing",), "There is no module no_such"),
        (("off", "--view", "agent"), "sees the whole level; leave the view out"),
        (("off", "--view", "4"), "Unknown view 4; use"),
        (("off", "--time-limit", "0"), "The time limit is 0"),
        (("off", "--time-limit", "nan"), "The time limit is nan"),
        (("off", "--out", "kept"), "Only episodes of policies that are not malgen's"),
        (("off", "--resume"), "Only episodes of policies that are not malgen's own"),
    ],
)
def test_bad_arguments_are_one_sentence(argv, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*argv, *QUICK) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1


# --- kept looks --------------------------------------------------------------------


class Counting:
    """Stays, or walks; fails after so many calls."""

    __name__ = "counting"

    def __init__(self, most=10**9):
        self.calls, self.most = 0, most

    def __call__(self, observation):
        self.calls += 1
        if self.calls > self.most:
            raise RuntimeError("stopped")
        return soft(observation)


def sequential(policy, **settings):
    return malgen.audit(policy, SMALL, instruments=(), seed=3, price=0.5, **settings)


def test_finished_looks_are_kept_and_not_played_again(tmp_path, monkeypatch):
    monkeypatch.setattr(auditing, "BATCH", 16)
    monkeypatch.setattr(auditing, "MOST_LEVELS", 64)
    monkeypatch.setattr(auditing, "GATE_LEVELS", 96)
    whole = Counting()
    expected = sequential(whole)
    assert expected.levels == 64
    stops = Counting(int(0.8 * whole.calls))
    with pytest.raises(ForeignError, match=r"stopped .*seed 3"):
        sequential(stops, out=tmp_path / "kept")
    again = Counting()
    found = sequential(again, out=tmp_path / "kept", resume=True)
    assert found == expected
    assert 0 < again.calls < 0.6 * whole.calls
    # a finished audit asks for nothing but the meeting
    last = Counting()
    assert sequential(last, out=tmp_path / "kept", resume=True) == expected
    assert last.calls == 2 * 64
    text = (tmp_path / "kept" / "verdict.json").read_text()
    assert json.loads(text)["label"] == expected.label


def test_a_folder_of_another_audit_is_refused(tmp_path):
    out = tmp_path / "kept"
    audit(nearest, out=out)
    with pytest.raises(ConfigError, match="already holds an audit; give --resume"):
        audit(nearest, out=out)
    with pytest.raises(ConfigError, match="an audit with another seed"):
        audit(nearest, out=out, resume=True, seed=5)
    with pytest.raises(ConfigError, match="an audit with another policy"):
        audit(soft, out=out, resume=True)
    with pytest.raises(ConfigError, match="an audit with another view"):
        audit(nearest, out=out, resume=True, view="agent")
    with pytest.raises(ConfigError, match="nothing to resume without a folder"):
        audit(nearest, resume=True)
    with pytest.raises(ConfigError, match="has no audit to resume"):
        audit(nearest, out=tmp_path / "other", resume=True)
