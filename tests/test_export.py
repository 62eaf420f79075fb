"""Networks as ONNX files: the same function, or no file at all."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import malgen
import pages
from malgen import cli, export, store
from malgen.agents.convolutional import ConvolutionalConfig
from malgen.agents.feedforward import FeedforwardConfig
from malgen.agents.weights_file import load_policies, policy_at, save_policies
from malgen.controls import ARMS, CONTROLS, CROP, INVENTORY_BLIND, WithoutInventory
from malgen.errors import ConfigError, ContractError
from malgen.evidence import LEVEL_FIELDS
from malgen.grid.moves import ACTIONS
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.store import Manifest
from malgen.streams import stream
from malgen.worlds.keys_and_chests import PLANES, sample_levels

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from malgen.agents import onnx_graph  # noqa: E402

SMALL = "keys-and-chests-small"
WHERE = find_scenario(SMALL)
TIED = FeedforwardConfig(hidden=(16, 8, 16), symmetric=True)
PLAIN = FeedforwardConfig(hidden=(12, 7), symmetric=False)
CONVOLVING = ConvolutionalConfig(channels=(3, 4), hidden=(9,))


def network(config, shape=(9, 9), seed=0):
    """With weights and biases that all matter."""
    shapes = eqx.filter_eval_shape(
        lambda key: config.build(key, (*shape, len(PLANES)), 5), jax.random.key(0)
    )
    rng = np.random.default_rng(seed)
    # by NumPy: JAX would compile a small program for every shape
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(scale=0.3, size=leaf.shape), jnp.float32),
        shapes,
    )


def anything(shape, number=300, seed=0):
    """Observations in which every plane has bits, Bool[n, h, w, 7]."""
    rng = np.random.default_rng(seed)
    height, width = shape
    seen = rng.random((number, *shape, len(PLANES))) < 0.3
    for i in range(number):
        seen[i, ..., 1] = False
        seen[i, rng.integers(1, height - 1), rng.integers(1, width - 1), 1] = True
        # from no key in hand to more than are counted one by one
        held = rng.integers(height * width + 1) if i % 2 else rng.integers(4)
        seen[i, ..., 6] = (np.arange(height * width) < held).reshape(shape)
    return seen


@pytest.mark.parametrize(
    "config, shape",
    [
        (TIED, (9, 9)),
        (replace(TIED, view=11, hidden=(16,)), (9, 9)),
        (replace(TIED, activation="tanh"), (7, 7)),
        (PLAIN, (9, 9)),
        (replace(PLAIN, view=3, activation="relu"), (9, 9)),
        (PLAIN, (7, 11)),
        (CONVOLVING, (9, 9)),
        (replace(CONVOLVING, view="grid", kernel=5, hidden=(6, 5)), (9, 9)),
        (replace(CONVOLVING, view=5, channels=(4,), activation="tanh"), (7, 11)),
    ],
    ids=str,
)
def test_a_file_is_the_same_function_as_its_network(config, shape):
    policy, seen = network(config, shape), anything(shape)
    blob = onnx_graph.model(policy)
    assert export.largest_difference(blob, policy, seen) < 2e-5
    logits = np.asarray(export._answers(policy, seen)[0])
    assert logits.std() > 0.1  # it does something
    # and any other network is told apart
    assert export.largest_difference(blob, network(config, shape, 5), seen) > 1e-2


@pytest.mark.parametrize("config", [TIED, CONVOLVING], ids=("tied", "convolving"))
def test_hidden_keys_are_hidden(config):
    policy, seen = network(config), anything((9, 9))
    blob = onnx_graph.model(policy, inventory_visible=False)
    assert export.largest_difference(blob, policy, seen) > 1e-2
    hidden = export.largest_difference(blob, policy, seen, inventory_visible=False)
    assert hidden < 2e-5
    blind = jax.vmap(lambda one: WithoutInventory(policy)(None, one, None)[0])
    session = onnxruntime.InferenceSession(blob)
    (logits,) = session.run(["logits"], {"obs": seen.astype(np.int8)})
    assert np.abs(logits - np.asarray(blind(jnp.asarray(seen)))).max() < 2e-5


@pytest.mark.parametrize("config", [PLAIN, CONVOLVING], ids=("plain", "convolving"))
def test_it_takes_batches_of_any_size_from_gymnasium(config):
    policy = network(config)
    session = onnxruntime.InferenceSession(onnx_graph.model(policy))
    shown, _ = gymnasium.make_vec("malgen/KeysAndChests-v0", 5, size=9).reset(seed=0)
    for number in (1, 2, 5):
        seen = shown[:number]
        logits, value = session.run(None, {"obs": seen})
        assert logits.shape == (number, 5) and value.shape == (number,)
        mine, _ = export._answers(policy, seen.astype(bool))
        assert np.abs(logits - mine).max() < 2e-5


def test_another_kind_of_policy_is_refused():
    with pytest.raises(ContractError, match="A Walker cannot be exported"):
        onnx_graph.model(malgen.zoo.catalog.AGENTS["nearest-key"].build(None))


# --- runs --------------------------------------------------------------------------


def stacked(config, seeds=2):
    return jax.tree.map(
        lambda *leaves: np.stack(leaves),
        *(network(config, seed=i) for i in range(seeds)),
    )


def deployed(home, config, actions_of=None):
    """Policies in a folder, with what they did in deployment."""
    policies = stacked(config)
    save_policies(home / store.POLICIES, policies)
    where = WHERE.deployment(1.0)
    levels = sample_levels(stream(3), where.levels, 40)
    arrays = {
        f"level_{name}": np.asarray(getattr(levels, name)) for name in LEVEL_FIELDS
    }
    for i in range(2):
        policy = policy_at(policies, i)
        played = collect(stream(i), where.world, policy, levels, where.horizon)
        arrays[f"actions_{i}"] = np.asarray(played.actions).astype(np.int8)
    store.write_arrays(home / store.ROLLOUTS, arrays)
    return arrays


def manifest_of(run):
    store.write_json(
        run / store.MANIFEST,
        Manifest(scenario=SMALL, seed=4, seeds=2, versions={}, platform="Linux x86_64"),
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    manifest_of(folder)
    deployed(folder, PLAIN)
    return folder


def call(*argv):
    return cli.main(["export", *map(str, argv), "--onnx", "--quiet"])


def test_every_network_of_a_run_and_its_control_arms_is_written(run, capsys):
    deployed(run / CONTROLS / ARMS[1], replace(PLAIN, view=CROP))
    arrays = deployed(run / CONTROLS / INVENTORY_BLIND, CONVOLVING)
    assert call(run, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    names = ["seed0", "seed1", "crop-11-seed0", "crop-11-seed1"]
    names += ["inventory-blind-seed0", "inventory-blind-seed1"]
    assert [each["path"] for each in files] == [
        str(run / "onnx" / f"{name}.onnx") for name in names
    ]
    assert all(each["difference"] < 1e-4 for each in files)
    assert all(each["observations"] > 1000 for each in files)
    assert len(arrays["actions_0"]) == 40
    # what is in the file suffices to use it
    found = onnx.load(files[2]["path"])
    said = {each.key: each.value for each in found.metadata_props}
    assert json.loads(said["planes"]) == list(PLANES)
    assert json.loads(said["actions"]) == ["up", "left", "down", "right", "stay"]
    assert (said["scenario"], said["arm"], said["training_run"]) == (
        SMALL,
        "crop-11",
        "0",
    )
    assert "Int8[batch, 9, 9, 7]" in said["about"] and "view=None" in said["about"]
    # again: the same bytes, and no complaint
    before = {each["path"]: Path(each["path"]).read_bytes() for each in files}
    assert call(run) == 0
    assert "as the network on" in capsys.readouterr().out
    assert before == {path: Path(path).read_bytes() for path in before}


def test_a_run_that_was_not_deployed_is_tried_on_episodes_played_for_that(run):
    (run / store.ROLLOUTS).unlink()
    found = export.export(run)
    assert [each.seed for each in found] == [0, 1]
    assert all(each.observations > 1000 for each in found)


def test_the_file_is_audited_as_its_network(run):
    (first, _) = export.export(run)
    settings = {"levels": 24, "gate": False, "instruments": ()}
    mine = malgen.audit(
        policy_at(load_policies(run / store.POLICIES), 0), SMALL, **settings
    )
    other = malgen.audit(first.path, SMALL, **settings)
    assert other.greedy.value == mine.greedy.value  # nothing random
    assert other.z.low <= mine.z.value <= other.z.high


def test_the_page_on_using_a_file_is_true(run, tmp_path, monkeypatch, capsys):
    export.export(run, out=tmp_path / "runs" / "mine" / "onnx")
    page = Path(__file__).parent.parent / "docs" / "export.md"
    (shown,) = (each for each in pages.blocks(page) if each.name == "use_it.py")
    monkeypatch.chdir(tmp_path)
    exec(compile(shown.body, shown.name, "exec"), {})
    actions = ast.literal_eval(capsys.readouterr().out)
    assert len(actions) == 4 and set(actions) <= set(ACTIONS)


# --- a file that is another function is not kept -----------------------------------


def nudged(policy, by):
    return jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(by), policy)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model, policy, **asked: model(nudged(policy, 1e-3), **asked),
        lambda model, policy, **asked: model(nudged(policy, np.nan), **asked),
        lambda model, policy, **asked: model(network(PLAIN, (9, 9), 9), **asked),
        lambda model, policy, **asked: model(
            policy, **asked | {"inventory_visible": False}
        ),
    ],
    ids=("a little off", "NaN", "another network", "keys hidden"),
)
def test_a_file_that_answers_otherwise_is_not_kept(run, monkeypatch, capsys, spoil):
    model = onnx_graph.model
    monkeypatch.setattr(
        onnx_graph, "model", lambda policy, **asked: spoil(model, policy, **asked)
    )
    assert call(run) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "The ONNX file of seed0 answers otherwise than its network" in said.err
    assert not (run / "onnx").exists()


def test_forgetting_that_an_arm_is_blind_is_found_on_recorded_observations(
    run, monkeypatch
):
    deployed(run / CONTROLS / INVENTORY_BLIND, TIED)
    model = onnx_graph.model
    monkeypatch.setattr(
        onnx_graph, "model", lambda policy, **asked: model(policy, metadata={})
    )
    with pytest.raises(ContractError, match="inventory-blind-seed0 answers otherwise"):
        export.export(run)


# --- bad input ---------------------------------------------------------------------


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_sentence(run, package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert call(run) == 2
    said = capsys.readouterr().err
    assert "pip install 'malgen[onnx]'" in said and said.count("\n") == 1
    assert not (run / "onnx").exists()


def test_another_file_of_that_name_is_left_alone(run, tmp_path, capsys):
    out = tmp_path / "elsewhere"
    assert call(run, "--out", out) == 0
    (out / "seed0.onnx").write_bytes(b"precious")
    assert call(run, "--out", out) == 2
    assert "seed0.onnx exists and is another file" in capsys.readouterr().err
    assert (out / "seed0.onnx").read_bytes() == b"precious"
    assert not (run / "onnx").exists()


def test_what_is_no_trained_run_is_refused(run, tmp_path, capsys):
    assert cli.main(["export", str(run)]) == 2
    assert "give --onnx" in capsys.readouterr().err
    assert call(tmp_path / "nowhere") == 2
    assert "There is no folder" in capsys.readouterr().err
    assert call(run, "--seed", "5") == 2
    assert "was made with seed 4" in capsys.readouterr().err
    arrays = store.read_arrays(run / store.ROLLOUTS)
    del arrays["actions_1"]
    store.write_arrays(run / store.ROLLOUTS, arrays)
    with pytest.raises(ConfigError, match="is incomplete"):
        export.export(run)
    (run / store.POLICIES).unlink()
    assert call(run) == 2
    assert "train it to the end first" in capsys.readouterr().err
