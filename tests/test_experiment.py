"""The whole story on a tiny training budget: files, bytes, resuming, refusals."""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tiny
from malgen import experiment, store
from malgen.agents.weights_file import load_policies
from malgen.audits import battery
from malgen.errors import ConfigError, ContractError
from malgen.findings import LABELS, from_json
from malgen.result import RunResult
from malgen.scenarios import find_scenario
from malgen.selection import train_recipe
from malgen.training import recipes

NAME = "keys-and-chests-small"
SETTINGS = {"seeds": 2, "seed": 5, "levels": 64}
DETERMINISTIC = (
    store.MANIFEST,
    store.HISTORY,
    store.POLICIES,
    store.ROLLOUTS,
    store.INSTRUMENTS,
    store.FINDINGS,
    store.VERDICT,
    store.REPORT,
)


@pytest.fixture(scope="module", autouse=True)
def tiny_recipe():
    """A recipe that trains for seconds; what it learns does not matter here."""
    patch = pytest.MonkeyPatch()
    patch.setitem(recipes.RECIPES, NAME, tiny.recipe())
    yield
    patch.undo()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run and its result."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, experiment.run(NAME, out=folder, **SETTINGS)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in DETERMINISTIC}


def test_a_run_writes_every_artifact(finished):
    folder, result = finished
    assert {p.name for p in folder.iterdir()} == {*DETERMINISTIC, store.TIMINGS}
    assert store.read_json(RunResult, folder / store.VERDICT) == result
    assert from_json(RunResult, (folder / store.VERDICT).read_text()) == result
    timings = json.loads((folder / store.TIMINGS).read_text())
    assert {"train", "deploy", "audit", "ladder", "report"} <= set(timings)


def test_the_json_has_what_the_command_line_promises(finished):
    folder, result = finished
    found = json.loads((folder / store.VERDICT).read_text())
    for key in ("label", "critical_stakes", "malign_window", "capability", "recipe"):
        assert key in found
    assert len(found["seeds"]) == 2
    assert found["recipe"]["seeds"] + len(found["recipe"]["not_trained"]) == 2
    assert all(s["verdict"]["label"] in LABELS for s in found["seeds"])
    assert result.label in (*LABELS, "mixed")


def test_an_untrained_policy_is_called_not_trained(finished):
    _, result = finished
    # 2,000 steps teach nothing, so nothing may be claimed about generalization
    assert result.label == "not-trained"
    assert result.recipe.seeds == 0 and result.recipe.not_trained == (0, 1)
    assert result.recipe.share is None


def test_levels_are_certified_and_common(finished):
    folder, result = finished
    arrays = store.read_arrays(folder / store.ROLLOUTS)
    assert len(arrays["level_ids"]) == 64 == len(set(arrays["level_ids"]))
    assert int(arrays["drawn"]) >= 64
    assert all("not certified" not in f for s in result.seeds for f in s.verdict.flags)


def test_the_same_seed_gives_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    experiment.run(NAME, out=tmp_path / "again", **SETTINGS)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_other_levels(finished, tmp_path):
    folder, _ = finished
    other = tmp_path / "other"
    experiment.train(NAME, out=other, seeds=SETTINGS["seeds"], seed=6)
    experiment.deploy(other, levels=SETTINGS["levels"])
    old = set(store.read_arrays(folder / store.ROLLOUTS)["level_ids"])
    new = set(store.read_arrays(other / store.ROLLOUTS)["level_ids"])
    assert len(old & new) <= 1


@pytest.mark.parametrize("kept", [1, 3, 4, 6])
def test_a_run_killed_between_steps_resumes_to_the_same_bytes(finished, tmp_path, kept):
    folder, _ = finished
    half = tmp_path / "half"
    half.mkdir()
    for name in DETERMINISTIC[:kept]:
        shutil.copy(folder / name, half / name)
    with pytest.raises(ConfigError, match="already holds a run; add --resume"):
        experiment.run(NAME, out=half, **SETTINGS)
    experiment.run(NAME, out=half, resume=True, **SETTINGS)
    assert contents(half) == contents(folder)


def test_resuming_with_other_settings_is_refused(finished):
    folder, _ = finished
    before = contents(folder)
    with pytest.raises(ConfigError, match=r"holds a run with price 1\.0, but 2\.0"):
        experiment.run(NAME, out=folder, resume=True, price=2.0, **SETTINGS)
    assert contents(folder) == before


def test_steps_can_be_run_alone(finished, tmp_path):
    folder, whole = finished
    run = tmp_path / "steps"
    experiment.train(NAME, out=run, seeds=2, seed=5)
    with pytest.raises(ConfigError, match="has no rollouts yet; run 'malgen deploy"):
        experiment.audit_run(run)
    experiment.deploy(run, levels=64)
    result = experiment.audit_run(run)
    assert result == whole
    assert (run / store.POLICIES).read_bytes() == (folder / store.POLICIES).read_bytes()
    ungated = experiment.audit_run(run, gate=False)
    assert ungated.label != "not-trained"
    dear = experiment.audit_run(run, price=3.0, gate=False)
    for one, other in zip(ungated.seeds, dear.seeds, strict=True):
        harm = one.verdict.harm.value
        assert other.verdict.z.value == pytest.approx(one.verdict.z.value - 2 * harm)


def test_deploying_under_a_shift_replaces_the_deployment(finished, tmp_path):
    folder, _ = finished
    run = tmp_path / "shifted"
    shutil.copytree(folder, run)
    experiment.deploy(run, shifts=[("maze", 1.0)], levels=64)
    assert not (run / store.VERDICT).exists()
    assert not (run / store.INSTRUMENTS).exists()
    result = experiment.audit_run(run, gate=False)
    assert "tree" in result.deployment.describe
    # fewer keys than chests: no harm is possible, whatever the policy does
    assert all(s.verdict.harm.value == 0 for s in result.seeds)
    assert all(s.verdict.malign_outcome is False for s in result.seeds)


@pytest.mark.parametrize(
    "name", [store.MANIFEST, store.POLICIES, store.ROLLOUTS, store.HISTORY]
)
def test_damaged_files_are_named(finished, tmp_path, name):
    folder, _ = finished
    run = tmp_path / "damaged"
    shutil.copytree(folder, run)
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[:-3])
    with pytest.raises(ConfigError) as caught:
        experiment.audit_run(run)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_failing_deployment_loses_nothing(finished, tmp_path):
    folder, _ = finished
    run = tmp_path / "kept"
    shutil.copytree(folder, run)
    (run / store.POLICIES).write_bytes(b"damaged")
    before = contents(run)
    with pytest.raises(ConfigError, match=r"policies\.safetensors"):
        experiment.deploy(run, shifts=[("maze", 1.0)], levels=64)
    assert contents(run) == before


def test_rollouts_of_another_deployment_are_refused(finished, tmp_path):
    folder, _ = finished
    run = tmp_path / "mixed"
    shutil.copytree(folder, run)
    experiment.deploy(run, shifts=[("maze", 1.0)], levels=64)
    shutil.copy(folder / store.MANIFEST, run / store.MANIFEST)
    with pytest.raises(ConfigError, match="are of another deployment"):
        experiment.audit_run(run)


def test_a_second_run_gets_a_folder_of_its_own(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(tmp_path)
    first = experiment.choose_folder(NAME, 0)
    assert first == experiment.choose_folder(NAME, 0, resume=True)
    shutil.copytree(folder, first)
    second = experiment.choose_folder(NAME, 0)
    assert second.name == f"{NAME}-seed0-2"
    assert experiment.choose_folder(NAME, 0, resume=True) == first
    assert experiment.choose_folder(NAME, 0, out=folder) == folder


def test_numbers_out_of_range_are_refused(tmp_path):
    for bad in ({"seeds": 0}, {"levels": 3}, {"price": -1.0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            experiment.run(NAME, out=tmp_path / "never", **bad)
    assert not (tmp_path / "never").exists()


def test_training_where_harm_is_possible_is_refused():
    """Negative control of the train-null assertion (measurement.md R1)."""
    where = find_scenario(NAME)
    task = dataclasses.replace(where.task(), levels=where.deployment().levels)
    manifest = experiment._manifest(scenario=NAME, seed=0, seeds=1)
    with pytest.raises(ContractError, match="excess"):
        train_recipe(where, task, None, manifest, experiment.Silent())


def test_control_arms_train_deploy_and_are_reported(tmp_path):
    run = tmp_path / "controls"
    result = experiment.run(NAME, out=run, seeds=1, seed=5, levels=32, controls=True)
    assert [c.name for c in result.controls] == [
        "trained-on-deployment",
        "crop-11",
        "inventory-blind",
        "x-planner-radius-5",
    ]
    assert result.controls[-1].recipe is None
    assert "inventory-blind" in (run / store.REPORT).read_text()
    crop = load_policies(run / "controls" / "crop-11" / store.POLICIES)
    assert crop.config.view == 11


def test_replays_tell_what_happened(finished):
    folder, result = finished
    arrays = store.read_arrays(folder / store.ROLLOUTS)
    for replay in result.replays:
        assert [t.agent for t in replay.tracks][1:] == ["x-oracle", "nearest-key"]
        assert replay.level_id in set(arrays["level_ids"])
        for track in replay.tracks:
            opened = sum(e.kind == "chest" for e in track.events)
            assert opened == track.intended
            assert sum(e.harmful for e in track.events) == track.harm
            assert track.utility == track.intended - result.price * track.harm
            for event in track.events:
                assert track.cells[event.step + 1] == event.cell
            moves = np.abs(np.diff(np.array(track.cells), axis=0)).sum(axis=1)
            assert moves.max(initial=0) <= 1
    utilities = [r.tracks[0].utility for r in result.replays[:8]]
    assert utilities == sorted(utilities)


# --- instruments -----------------------------------------------------------------


def test_the_labels_rest_on_what_the_instruments_of_the_goal_found(finished):
    folder, result = finished
    names = [i.name for i in battery.select(battery.VERDICT)]
    for seed in result.seeds:
        assert [m.instrument for m in seed.verdict.instruments] == names
        assert seed.verdict.goal is not None and seed.verdict.optimizer is None
        goal = next(f for f in seed.verdict.because if f.name == "goal")
        assert goal.answer == seed.verdict.goal.sentence
    assert all(a.verdict.goal is not None for a in result.agents)
    rows = json.loads((folder / store.INSTRUMENTS).read_text())
    assert [(r["seed"], r["instrument"]) for r in rows] == [
        (i, name) for i in range(2) for name in names
    ]
    assert any(r["draws"] for r in rows)


def test_an_audit_can_ask_for_other_instruments_or_none(finished, tmp_path):
    folder, _ = finished
    run = tmp_path / "asked"
    shutil.copytree(folder, run)
    none = experiment.audit_run(run, instruments=())
    assert all(s.verdict.goal is None for s in none.seeds)
    assert all(s.verdict.instruments == () for s in none.seeds)
    assert json.loads((run / store.INSTRUMENTS).read_text()) == []
    one = experiment.audit_run(run, instruments="attribution")
    for seed in one.seeds:
        (found,) = seed.verdict.instruments
        assert found.instrument == "attribution" and found.draws == {}
        assert found.seconds == 0
    with pytest.raises(ConfigError, match="did you mean 'attribution'"):
        experiment.audit_run(run, instruments="atribution")


def test_a_failing_instrument_changes_no_file(finished, tmp_path, monkeypatch):
    folder, _ = finished
    run = tmp_path / "failing"
    shutil.copytree(folder, run)
    before = contents(run)

    def broken(case, say):
        raise ContractError("NaN")

    name = battery.GOAL[0]
    bad = dataclasses.replace(battery.INSTRUMENTS[name], measure=broken)
    monkeypatch.setitem(battery.INSTRUMENTS, name, bad)
    with pytest.raises(ContractError, match=f"The instrument {name}: NaN"):
        experiment.audit_run(run, use_cache=False)
    assert contents(run) == before


# --- on the newest Python and JAX of this machine ---------------------------------

HERE = Path(__file__).parent
# ``make newest`` makes it where there is a newer supported Python than the one that
# the other tests run on
PYTHON = HERE.parent / ".venv-newest" / "bin" / "python"

ABOUT = """
import json, sys, jax
print(json.dumps([list(sys.version_info[:2]), jax.__version__]))
"""


@pytest.mark.skipif(
    not (HERE.parent / ".venv-newest" / "installed").exists(),
    reason="no newer supported Python was found or filled; see 'make newest'",
)
def test_the_main_job_on_the_newest_python(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(HERE.parent / "src")
    # most of the time would go into compiling well what runs for a second
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

    def python(*argv: str) -> str:
        done = subprocess.run(
            [PYTHON, *argv], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "Warning" not in done.stderr
        return done.stdout

    version, jax = json.loads(python("-c", ABOUT))
    run = tmp_path / "run"
    line = ("--seeds", "1", "--levels", "30", "--out", str(run), "--json")
    out = python(str(HERE / "tiny.py"), "run", tiny.NAME, *line)
    # the older Python reads what the newest wrote
    result = from_json(RunResult, out)
    assert result == store.read_json(RunResult, run / store.VERDICT)
    assert result.versions["jax"] == jax
    assert result.versions["python"].startswith("{}.{}.".format(*version))
    assert result.versions == store.read_manifest(run).versions
    assert len(result.seeds) == 1 and result.seeds[0].verdict.label in LABELS
    assert result.seeds[0].verdict.levels == 30
    assert (run / store.REPORT).read_text("utf-8").startswith("<!")
