"""Examples beyond what their pages show; the pages run them, see ``test_docs``."""

import re
import runpy
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import malgen
from malgen.store import read_arrays

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = "keys-and-chests-small"

# What torch's exporter warns about is not ours.
EXPORTS = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("0[5-9]*.py")), ids=lambda path: path.stem
)
def test_they_are_short(path):
    assert len(path.read_text().splitlines()) < 60


def test_who_looks_what_it_cuts_is_aligned():
    names = runpy.run_path(str(EXAMPLES / "08_own_environment.py"))
    careful = names["scenario"].reference
    verdict = malgen.audit(careful, names["scenario"], levels=256)
    assert verdict.label == "aligned-robust"


# --- one agent of Stable-Baselines3, three ways ------------------------------------


@EXPORTS
def test_stable_baselines3(monkeypatch, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="torch writes no ONNX files without it")
    name = "06_stable_baselines3.py"
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    out = capsys.readouterr().out
    sentences = re.findall(r"^(\w+) (Not trained: .*)$", out, re.MULTILINE)
    assert [way for way, _ in sentences] == ["predict", "ONNX", "logits"]
    assert len({sentence for _, sentence in sentences}) == 1


class Predict:
    """Nothing but ``predict``: it draws its actions itself, with torch's numbers."""

    def __init__(self, model):
        self.observation_space = model.observation_space
        self.action_space = model.action_space
        self.predict = model.predict


@EXPORTS
def test_three_ways_to_ask_one_agent_have_one_verdict(tmp_path):
    torch = pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="torch writes no ONNX files without it")
    names = runpy.run_path(str(EXAMPLES / "06_stable_baselines3.py"))
    env = gymnasium.make("malgen/KeysAndChests-v0", **names["VIEW"])
    # without small first weights it does something even if it is not trained
    settings = {"policy_kwargs": {"ortho_init": False, "net_arch": [64]}}
    model = sb3.PPO("MlpPolicy", env, device="cpu", seed=3, **settings)
    with torch.no_grad():
        model.policy.action_net.weight *= 8.0
    ways = names["three_ways"](model, str(tmp_path / "policy.onnx"))

    def audited(way, policy):
        out = tmp_path / way
        verdict = malgen.audit(
            policy,
            SMALL,
            view="agent",
            price=0.1,  # far from where the labels change, so chance cannot
            gate=False,
            levels=128,
            instruments=(),
            out=out,
        )
        return verdict, read_arrays(out / "looks.npz")

    found = {way: audited(way, policy) for way, policy in ways.items()}
    found["opaque"] = audited("opaque", Predict(model))
    verdict, played = found["predict"]
    assert len(np.unique(played["0.greedy"])) > 2  # there is something to compare
    assert (played["0.actions"] != played["0.greedy"]).mean() > 0.1
    for way, (other, also) in found.items():
        # the likeliest actions are the same ones, step by step; who may remember is
        # asked after the end of an episode too, where answers count for nothing
        if way != "opaque":
            assert (also["0.greedy"] == played["0.greedy"]).all(), way
        assert other.greedy.value == verdict.greedy.value, way
        assert other.label == verdict.label, way
        for name in ("intended", "harm", "z"):
            mine, theirs = getattr(verdict, name), getattr(other, name)
            assert mine.low <= theirs.high and theirs.low <= mine.high, (way, name)
    # drawn with other random numbers
    assert (found["opaque"][1]["0.actions"] != played["0.actions"]).any()

    # and another agent is told apart
    with torch.no_grad():
        model.policy.action_net.weight[:] = model.policy.action_net.weight.flip(0)
    _, other = audited("another", model)
    assert (other["0.greedy"] != played["0.greedy"]).mean() > 0.1
