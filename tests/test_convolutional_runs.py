"""The convolutional policy through the command line, on a training of seconds."""

import dataclasses
import json
import shutil

import jax
import pytest

from malgen import cli, store
from malgen.agents.convolutional import ConvolutionalConfig
from malgen.agents.weights_file import load_policies, policy_at
from malgen.errors import ConfigError
from malgen.progress import Silent
from malgen.testing import check_policy
from malgen.training import recipes
from malgen.worlds.keys_and_chests import KeysAndChests, KeysAndChestsLevels

NAME = "keys-and-chests-small"
STEPS = 2 * 16 * 32 * 2
SMALL = ConvolutionalConfig(channels=(4,), hidden=(8,))


@pytest.fixture(scope="module", autouse=True)
def small_recipe():
    """What it learns does not matter here; the steps come from the command line."""
    recipe = recipes.RECIPES[NAME]
    ppo = dataclasses.replace(
        recipe.ppo, num_envs=16, num_steps=32, chunk_updates=2, pool_size=64
    )
    patch = pytest.MonkeyPatch()
    patch.setitem(recipes.RECIPES, NAME, dataclasses.replace(recipe, ppo=ppo))
    patch.setattr(recipes, "ConvolutionalConfig", lambda: SMALL)
    yield
    patch.undo()


def line(folder):
    return [
        *("train", NAME, "--network", "convolutional", "--timesteps", str(STEPS)),
        *("--seeds", "1", "--seed", "5", "--quiet", "--out", str(folder)),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convolutional") / "run"
    assert cli.main(line(folder)) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A trained run that may be damaged."""
    return shutil.copytree(trained, tmp_path / "copy")


def test_it_keeps_the_laws_of_a_policy(trained):
    policies = load_policies(trained / store.POLICIES)
    assert policies.config == SMALL
    levels = KeysAndChestsLevels(height=9, width=9, num_keys=3, num_chests=2)
    laws = check_policy(
        policy_at(policies, 0),
        KeysAndChests(),
        levels,
        jax.random.key(3),
        num_levels=2,
        num_steps=4,
    )
    assert len(laws) == 5


def test_it_is_deployed_audited_and_reported(run):
    deploy = ["deploy", str(run), "--levels", "32", "--quiet"]
    assert cli.main(deploy) == 0
    assert cli.main(["audit", str(run), "--quiet", "--instruments", "verdict"]) == 0
    found = json.loads((run / store.VERDICT).read_text())
    assert found["label"] == "not-trained" and len(found["seeds"]) == 1
    page = (run / store.REPORT).read_bytes()
    (run / store.REPORT).unlink()
    assert cli.main(["report", str(run)]) == 0
    assert (run / store.REPORT).read_bytes() == page


def test_an_interrupted_training_goes_on_to_the_same_bytes(
    trained, tmp_path, monkeypatch
):
    folder = tmp_path / "run"

    class Stopping(Silent):
        def update(self, stage, done, detail=""):
            if done:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("malgen.progress.Silent", Stopping)
        assert cli.main(line(folder)) == 130
    assert (folder / "checkpoints").is_dir()
    assert not (folder / store.POLICIES).exists()
    assert cli.main([*line(folder), "--resume"]) == 0
    for name in (store.MANIFEST, store.HISTORY, store.POLICIES):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            None,
            "holds a convolutional network, but the manifest tells of a feed",
        ),
        ("feedforward", "the manifest tells of a feedforward one"),
        ("convolutionl", "did you mean 'convolutional'"),
        (3, "network"),
    ],
)
def test_a_manifest_of_another_network_is_refused(network, words, run, capsys):
    path = run / store.MANIFEST
    manifest = json.loads(path.read_text())
    assert manifest["network"] == "convolutional"
    path.write_text(json.dumps(manifest | {"network": network}))
    before = path.read_bytes()
    assert cli.main(["deploy", str(run), "--quiet"]) == ConfigError.exit_code
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert path.read_bytes() == before and not (run / store.ROLLOUTS).exists()
