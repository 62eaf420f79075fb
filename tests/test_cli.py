"""The command line: exit statuses, one sentence for every mistake, fast help."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import samples
from malgen import cli, experiment
from malgen.errors import ForeignError
from malgen.findings import LABELS, from_json
from malgen.result import RunResult
from malgen.store import MANIFEST, Manifest, write_json

SMALL = "keys-and-chests-small"


def call(capsys, *argv):
    """Exit status, standard output, standard error."""
    status = cli.main([str(word) for word in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def complaint(capsys, *argv, status=2):
    """The one line on standard error of a command that must fail."""
    found, out, err = call(capsys, *argv)
    assert found == status, err
    assert out == ""
    assert err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err
    return err.strip()


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    manifest = Manifest(
        scenario=SMALL, seed=4, seeds=1, versions={}, platform="Linux x86_64"
    )
    write_json(folder / MANIFEST, manifest)
    return folder


@pytest.fixture
def fake_run(monkeypatch):
    """``experiment.run`` that remembers what it was asked for."""
    asked = {}

    def run(scenario, **options):
        asked.update(options, scenario=scenario)
        print("a library that prints")
        return samples.run()

    monkeypatch.setattr(experiment, "run", run)
    return asked


# --- help ------------------------------------------------------------------------

HEAVY = ("jax", "equinox", "gymnasium", "scipy", "matplotlib", "numpy", "pydantic")

HELP = """
import sys
from malgen.cli import VERBS, main
assert main(["--help"]) == 0
for verb in VERBS:
    assert main([verb, "--help"]) == 0
assert main(["run", "x", "--fail-on", "malign-an"]) == 2
sys.exit(",".join(set(sys.argv[1:]) & set(sys.modules)) or 0)
"""


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-c", HELP, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for verb in cli.VERBS:
        assert f"usage: malgen {verb}" in done.stdout


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_seed_and_json(verb, capsys):
    status, out, err = call(capsys, verb, "--help")
    assert (status, err) == (0, "")
    assert all(option in out for option in ("--help", "--seed", "--json", "example:"))


def test_without_a_verb(capsys):
    status, out, err = call(capsys)
    assert (status, out) == (2, "")
    assert "usage: malgen" in err


def test_module_and_version():
    command = [sys.executable, "-m", "malgen", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("malgen ")


# --- bad usage -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rnu", "did you mean 'run'?"),
        ("--vresion", "did you mean --version?"),
        (f"run {SMALL} --sedes 3", "did you mean --seeds?"),
        (f"run {SMALL} --controlls=1", "did you mean --controls?"),
        ("run", "give SCENARIO"),
        (f"run {SMALL} more", "no use for 'more'"),
        ("run keys-and-chest-small", f"did you mean '{SMALL}'?"),
        ("train keys-and-chest --out x", "did you mean 'keys-and-chests'?"),
        ("play chests", "no scenario named 'chests'"),
        ("audit off --scenario keys", "no scenario named 'keys'"),
        ("audit nearest-kye", "did you mean 'nearest-key'?"),
        ("deploy x --shift suply", "did you mean 'supply'?"),
        ("deploy x --shift supply=2", "from 0 (no shift) to 1"),
        ("deploy x --shift supply mase=1", "did you mean 'maze'?"),
        (f"run {SMALL} --fail-on malign-generalisation", "'malign-generalization'?"),
        (f"run {SMALL} --fail-on undetermined,", "no label named ''"),
        (f"run {SMALL} --seeds 0", "--seeds is 0; give a whole number from 1 to"),
        (f"run {SMALL} --seeds 2.5", "--seeds is '2.5'"),
        (f"run {SMALL} --seeds three", "--seeds is 'three'"),
        (f"run {SMALL} --seeds", "expected one argument"),
        (
            f"run {SMALL} --levels 1",
            "--levels is 1; give a whole number from 30 to",
        ),
        (f"run {SMALL} --seed -1", "--seed is -1"),
        (f"run {SMALL} --price -0.5", "The price is -0.5; give a number from 0"),
        (f"run {SMALL} --price nan", "The price is nan"),
        (f"run {SMALL} --price=inf", "The price is inf"),
        (f"train {SMALL}", "--out"),
        (f"train {SMALL} --out x --timesteps 0", "--timesteps is 0"),
        ("deploy no-such-folder", "no folder no-such-folder"),
        ("report no-such-folder", "no folder no-such-folder"),
        ("audit no/such.safetensors", "no file or folder no/such.safetensors"),
        ("check no_such.py", "no file no_such.py"),
        (f"play {SMALL}", "needs a terminal"),
        (f"play {SMALL} --train --shift maze", "contradict"),
    ],
)
def test_bad_usage_is_one_sentence(line, expected, capsys):
    assert expected in complaint(capsys, *line.split())


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("#####\n#@kc#\n####", "Row 3 of the level has 4 characters"),
        ("#####\n#@k?#\n#####", "'?' at row 2, column 4"),
        ("#####\n#.kc#\n#####", "0 agents"),
        ("######\n#@kc@#\n######", "2 agents (row 2 column 2, row 2 column 5)"),
        ("######\n#@k#c#\n######", "chest at row 2, column 5 cannot be reached"),
        ("#####\n#@kc.\n#####", "border is open at row 2, column 5"),
        ("", "empty"),
        ("#####\n#@kc#\n#####\nheld some", "held"),
    ],
)
def test_bad_levels_say_where(level, expected, capsys, tmp_path):
    file = tmp_path / "level.txt"
    file.write_text(level)
    assert expected in complaint(capsys, "play", SMALL, "--level", file)


def test_level_files_that_are_none(capsys, tmp_path):
    binary = tmp_path / "level.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in complaint(capsys, "play", SMALL, "--level", binary)
    missing = tmp_path / "missing.txt"
    assert "missing.txt" in complaint(capsys, "play", SMALL, "--level", missing)
    assert str(tmp_path) in complaint(capsys, "play", SMALL, "--level", tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("policy.safetensors", "policy.safetensors"),
        ("agent.py", "malgen check"),
        ("model.zip", "runs code"),
        ("model.onnx", "ONNX"),
        ("model.pt", "runs code"),
    ],
)
def test_policy_files_that_cannot_be_audited(name, expected, capsys, tmp_path):
    file = tmp_path / name
    file.write_bytes(b"this is not a policy")
    assert expected in complaint(capsys, "audit", file)


def test_folders_that_are_no_run(capsys, tmp_path, run_folder):
    assert "has no manifest.json" in complaint(capsys, "audit", tmp_path)
    assert "has no manifest.json" in complaint(capsys, "deploy", tmp_path)
    assert "made with seed 4" in complaint(capsys, "deploy", run_folder, "--seed", 5)
    assert f"trained on {SMALL}" in complaint(
        capsys, "audit", run_folder, "--scenario", "keys-and-chests"
    )
    assert "malgen deploy" in complaint(capsys, "audit", run_folder, "--levels", 64)
    (run_folder / MANIFEST).write_text('{"scenario": 3')
    assert MANIFEST in complaint(capsys, "report", run_folder)


def test_a_run_that_was_not_deployed(capsys, run_folder):
    complaint(capsys, "audit", run_folder)
    complaint(capsys, "report", run_folder)
    complaint(capsys, "deploy", run_folder)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.npz"), 2, "a.npz"),
        (PermissionError(13, "Permission denied", "/etc/x"), 2, "Permission denied"),
        (IsADirectoryError(21, "Is a directory", "runs"), 2, "runs"),
        (ForeignError("Your policy\nraised."), 1, "Your policy raised."),
        (KeyboardInterrupt(), 130, "--resume"),
    ],
)
def test_errors_become_exit_statuses(error, status, expected, capsys, monkeypatch):
    def run(*args, **options):
        raise error

    monkeypatch.setattr(experiment, "run", run)
    assert expected in complaint(capsys, "run", SMALL, status=status)


# --- run -------------------------------------------------------------------------


def test_run_for_a_person(capsys, fake_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a run that is there already would get another name
    status, out, _ = call(capsys, "run", SMALL)
    assert status == 0
    assert fake_run == {
        "scenario": SMALL,
        "out": Path("runs") / f"{SMALL}-seed0",
        "seeds": 3,
        "seed": 0,
        "price": 1.0,
        "levels": 512,
        "controls": False,
        "resume": False,
        "progress": fake_run["progress"],
    }
    result = samples.run()
    for text in (result.sentence, result.recipe.sentence, result.next_step):
        assert text in out
    assert f"runs/{SMALL}-seed0/report.html" in out
    for seed in result.seeds:
        for number in (seed.verdict.z, seed.verdict.critical_stakes):
            value, _, interval = str(number).partition(" ")
            assert value in out and interval in out


def test_run_passes_options_on(capsys, fake_run, tmp_path):
    line = f"run {SMALL} --seeds 5 --seed 7 --price 0.5 --levels 1e2 --controls"
    call(capsys, *line.split(), "--resume", "--out", tmp_path)
    del fake_run["progress"]
    assert fake_run == {
        "scenario": SMALL,
        "out": tmp_path,
        "seeds": 5,
        "seed": 7,
        "price": 0.5,
        "levels": 100,
        "controls": True,
        "resume": True,
    }


def test_run_json_is_one_object(capsys, fake_run):
    status, out, err = call(capsys, "run", SMALL, "--json")
    assert status == 0
    assert from_json(RunResult, out) == samples.run()
    assert "a library that prints" in err
    assert {"label", "critical_stakes", "malign_window", "capability", "seeds"} <= set(
        json.loads(out)
    )


@pytest.mark.parametrize(
    ("labels", "status"),
    [
        ("malign-generalization", 3),
        ("malign-any", 3),
        ("shortfall,malign-outcome, malign-generalization", 3),
        ("shortfall,undetermined", 0),
    ],
)
def test_fail_on(labels, status, capsys, fake_run):
    found, out, err = call(capsys, "run", SMALL, "--fail-on", labels, "--json")
    assert found == status
    assert json.loads(out)["label"] == "malign-generalization"
    if status:
        assert "seed 0 is malign-generalization" in err


def test_fail_on_looks_at_every_seed(capsys, monkeypatch):
    result = samples.mixed()
    monkeypatch.setattr(experiment, "run", lambda *args, **options: result)
    found = {seed.verdict.label for seed in result.seeds}
    assert len(found) > 1
    for label in LABELS:
        status, *_ = call(capsys, "run", SMALL, "--fail-on", label)
        assert status == (3 if label in found else 0)


# --- the other verbs -------------------------------------------------------------


def test_train_and_deploy_pass_options_on(capsys, monkeypatch, tmp_path, run_folder):
    asked = {}

    def train(scenario, **options):
        asked["train"] = (scenario, options)
        return options["out"]

    def deploy(run, **options):
        asked["deploy"] = (run, options)
        return run / "rollouts.npz"

    monkeypatch.setattr(experiment, "train", train)
    monkeypatch.setattr(experiment, "deploy", deploy)
    out = tmp_path / "new"
    line = f"train {SMALL} --seeds 2 --timesteps 5e6 --resume --json --out"
    status, text, _ = call(capsys, *line.split(), out)
    assert (status, json.loads(text)) == (0, {"run": str(out)})
    scenario, options = asked["train"]
    assert (scenario, options["timesteps"], options["seeds"]) == (SMALL, 5_000_000, 2)
    assert options["resume"] and options["out"] == out

    line = "--shift supply=0.5 maze --shift deadline --price 2"
    status, text, _ = call(capsys, "deploy", run_folder, *line.split())
    assert status == 0 and "rollouts.npz" in text and "malgen audit" in text
    run, options = asked["deploy"]
    assert run == run_folder and options["price"] == 2.0
    assert options["shifts"] == [("supply", 0.5), ("maze", 1.0), ("deadline", 1.0)]
    call(capsys, "deploy", "--shift", "maze", run_folder)
    assert asked["deploy"][1]["shifts"] == [("maze", 1.0)]


def test_audit_of_a_run(capsys, monkeypatch, run_folder):
    asked = {}

    def audit_run(run, **options):
        asked.update(options, run=run)
        return samples.run()

    monkeypatch.setattr(experiment, "audit_run", audit_run)
    line = ("audit", run_folder, "--no-gate", "--json", "--seed", 4)
    status, out, _ = call(capsys, *line)
    assert status == 0 and json.loads(out)["type"] == "run-result"
    assert (asked["run"], asked["price"], asked["gate"]) == (run_folder, None, False)
    assert (asked["instruments"], asked["use_cache"]) == ("all", True)
    status, out, _ = call(capsys, "audit", run_folder, "--fail-on", "malign-any")
    assert status == 3 and "report.html" in out


def test_audit_of_an_agent(capsys, monkeypatch):
    import malgen.auditing

    asked = {}

    def audit(policy, scenario, **options):
        asked.update(options, policy=policy, scenario=scenario)
        return replace(samples.run().seeds[0].verdict, label="malign-outcome")

    monkeypatch.setattr(malgen.auditing, "audit", audit)
    status, out, _ = call(capsys, "audit", "nearest-key", "--shift", "supply=0.5")
    assert status == 0
    assert "critical stakes: 0.532 [0.516, 0.548]" in out
    del asked["progress"]
    assert asked == {
        "policy": "nearest-key",
        "scenario": "keys-and-chests",
        "price": 1.0,
        "gate": True,
        "seed": 0,
        "levels": None,
        "shifts": [("supply", 0.5)],
        "instruments": "all",
        "use_cache": True,
        "out": None,
        "resume": False,
    }
    line = ("audit", "off", "--instruments", "trap-depth,verdict", "--no-cache")
    call(capsys, *line)
    assert asked["instruments"] == "trap-depth,verdict"
    assert asked["use_cache"] is False
    line = ("audit", "nearest-key", "--json", "--fail-on", "malign-any")
    status, out, err = call(capsys, *line)
    assert status == 3 and "nearest-key is malign-outcome" in err
    assert json.loads(out)["label"] == "malign-outcome"


def test_list(capsys):
    status, out, _ = call(capsys, "list")
    assert status == 0
    _, text, _ = call(capsys, "list", "--json")
    groups = json.loads(text)
    assert list(groups) == [
        "scenarios",
        "worlds",
        "agents",
        "networks",
        "objectives",
        "shifts",
        "instruments",
        "findings",
    ]
    for members in groups.values():
        for member in members:
            assert member["name"] in out and member["about"]


def test_reading_half_of_a_pipe():
    command = f"{sys.executable} -m malgen list | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "scenarios" and done.stderr == ""
