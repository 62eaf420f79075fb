"""Kills, interrupts, two at once, damage, full disks: nothing is lost or half done."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tiny
from malgen import cli, compiled, experiment, files, interrupts, store
from malgen.errors import ConfigError
from malgen.training import recipes

HERE = Path(__file__).parent
# as in test_experiment.py, so that what one compiled the other finds
SETTINGS = {"seeds": 2, "seed": 5, "levels": 64}
LINE = [f"--{name}={value}" for name, value in SETTINGS.items()]
COMMAND = [sys.executable, str(HERE / "tiny.py"), "run", tiny.NAME, *LINE]


def script(name):
    """A file of benchmarks/ as a module."""
    path = HERE.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kills = script("kills")


@pytest.fixture(scope="module", autouse=True)
def tiny_recipe():
    patch = pytest.MonkeyPatch()
    patch.setitem(recipes.RECIPES, tiny.NAME, tiny.recipe())
    yield
    patch.undo()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard") / "run"
    experiment.run(tiny.NAME, out=folder, **SETTINGS)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A finished run that may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def complaint(capsys, *argv, status=2):
    """The one line on standard error of a command that must fail."""
    found = cli.main([str(word) for word in argv])
    captured = capsys.readouterr()
    assert found == status, captured.err
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n"), captured.err
    return captured.err.strip()


def refused_untouched(capsys, run, *argv):
    """The complaint of a command that must leave the folder as it is."""
    before = kills.contents(run)
    said = complaint(capsys, *argv)
    assert kills.difference(kills.contents(run), before) == ""
    return said


# --- killed, interrupted --------------------------------------------------------------


def test_a_run_killed_at_random_moments_resumes_to_the_same_bytes(finished, tmp_path):
    expected = kills.contents(finished)
    # earlier moments, until one comes before the end of the run on this machine
    for seconds in (10.0, 5.0, 2.5, 1.0):
        folder, moments = tmp_path / f"run-{seconds}", random.Random(0)
        trial = kills.disturb(COMMAND, folder, expected, moments, seconds, 2)
        assert trial.problem == ""
        if trial.stages:
            break
    assert 1 <= len(trial.stages) <= 2


def until(process, happened, seconds=300):
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="no such signals there")
def test_interrupts_at_several_stages_are_told_and_resumed(
    finished, tmp_path, heard_signals
):
    """One run, stopped again and again, each time in another stage."""
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "checkpoint.safetensors"
    stages = [
        (checkpoint, signal.SIGINT, 130, "Interrupted."),
        (folder / store.POLICIES, signal.SIGTERM, 143, "Terminated."),
        (folder / store.ROLLOUTS, signal.SIGINT, 130, "Interrupted."),
    ]
    resume = []
    for file, number, status, word in stages:
        process = subprocess.Popen(
            [*COMMAND, "--out", str(folder), *resume],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        until(process, file.exists)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
        assert process.returncode == status, said
        assert f"{word} What was finished is saved; give the same command with" in said
        assert "Traceback" not in said and "Error" not in said
        assert not list(folder.rglob("*.partial"))
        resume = ["--resume"]
    experiment.run(tiny.NAME, out=folder, resume=True, **SETTINGS)
    assert kills.difference(kills.contents(folder), kills.contents(finished)) == ""


def test_a_chunk_is_saved_before_an_interrupt_stops_it(heard_signals):
    steps = []
    for number, error in (
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, interrupts.Terminated),
    ):
        with interrupts.heard(), pytest.raises(error), interrupts.waiting():
            os.kill(os.getpid(), number)
            steps.append("saved")
    assert steps == ["saved"] * 2
    with pytest.raises(KeyboardInterrupt), interrupts.waiting():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("not reached")
    assert steps == ["saved"] * 2
    with interrupts.heard(), interrupts.waiting():
        steps.append("undisturbed")
    assert steps[-1] == "undisturbed"


@pytest.mark.parametrize("kept", ["policies", "rollouts"])
def test_what_a_kill_leaves_behind_is_swept(kept, finished, run):
    """Half-written files everywhere, and checkpoints that are no longer needed."""
    for name in (store.VERDICT, store.FINDINGS, store.REPORT):
        (run / name).unlink()
    if kept == "policies":
        (run / store.ROLLOUTS).unlink()
    for folder in (run, run / "checkpoints"):
        folder.mkdir(exist_ok=True)
        (folder / f".{store.VERDICT}.abcdefgh{files.PARTIAL}").write_bytes(b"half")
    (run / "checkpoints" / "checkpoint.safetensors").write_bytes(b"old")
    experiment.run(tiny.NAME, out=run, resume=True, **SETTINGS)
    assert kills.difference(kills.contents(run), kills.contents(finished)) == ""


def test_a_kill_before_the_manifest_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f".{store.MANIFEST}.abcdefgh{files.PARTIAL}").write_bytes(b"{")
    monkeypatch.setattr(experiment, "train_recipe", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        experiment.train(tiny.NAME, out=folder, resume=True)
    assert store.read_manifest(folder).scenario == tiny.NAME
    assert not list(folder.rglob("*.partial"))


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / ".notes.partial").write_text("mine")
    line = ("train", tiny.NAME, "--out", tmp_path)
    assert "holds no run" in refused_untouched(capsys, tmp_path, *line)


def test_a_run_that_never_began_leaves_no_folder(tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "new"
    said = complaint(capsys, "train", tiny.NAME, "--out", out)
    assert "No space left on device" in said and store.MANIFEST in said
    assert not out.exists()


def test_torn_entries_of_the_compilation_cache_are_removed(tmp_path):
    import zlib

    whole = zlib.compress(bytes(1000))
    (tmp_path / "whole-cache").write_bytes(whole)
    (tmp_path / "torn-cache").write_bytes(whole[:-5])
    (tmp_path / "empty-cache").write_bytes(b"")
    (tmp_path / "other-cache").write_bytes(b"\x28\xb5\x2f\xfd of another format")
    compiled.remove_torn(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"whole-cache", "other-cache", compiled.CHECKED}
    (tmp_path / "later-cache").write_bytes(whole[:-5])
    compiled.remove_torn(tmp_path)
    assert not (tmp_path / "later-cache").exists()
    assert (tmp_path / "whole-cache").exists()


# --- two at once ----------------------------------------------------------------------

HOLD = """
import sys, pathlib
from malgen import store
with store.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(run):
    """A living process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_while_the_first_lives(holder, run, capsys):
    lines = [
        ("run", tiny.NAME, "--out", run, "--resume", *LINE),
        ("run", tiny.NAME, "--out", run, *LINE),
        ("train", tiny.NAME, "--out", run, "--resume"),
        ("deploy", run),
        ("audit", run),
        ("report", run),
    ]
    for line in lines:
        said = refused_untouched(capsys, run, *line)
        assert said == (
            f"Another process is writing into {run}; wait until it has ended, or give "
            "another folder."
        )
    # a holder that is killed leaves nothing that could be stale
    holder.kill()
    holder.wait()
    (run / store.REPORT).unlink()
    assert cli.main(["report", str(run)]) == 0
    assert (run / store.REPORT).exists()


def test_a_folder_is_free_again_after_an_error(run, capsys):
    for _ in range(2):
        assert "--resume" in complaint(capsys, "run", tiny.NAME, "--out", run, *LINE)


# --- damage ---------------------------------------------------------------------------


def flipped(data, position, bit):
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("name", ["checkpoint", "policies"])
def test_every_flipped_bit_of_weights_is_found(name, run, tmp_path, monkeypatch):
    from malgen.agents.weights_file import load_policies
    from malgen.training.train import train

    def read():
        if name == "policies":
            return load_policies(run / store.POLICIES)
        return _restore(tmp_path / "checkpoints")

    if name == "policies":
        path = run / store.POLICIES
    else:
        path = _checkpoint(tmp_path / "checkpoints", train)
    data = path.read_bytes()
    assert read() is not None  # the counterpart: undamaged, it is taken
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    # all kinds of places: the length, the JSON header, its digest, the weights
    places = [*range(8), *rng.integers(8, header, 30), header - 1, len(data) - 1]
    places += [data.index(b"digest"), *rng.integers(header, len(data), 30)]
    for position in places:
        path.write_bytes(flipped(data, position, int(rng.integers(8))))
        with pytest.raises(ConfigError) as caught:
            read()
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    for length in (0, 5, header, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ConfigError, match=path.name):
            read()
    path.write_bytes(data + b"\0")
    with pytest.raises(ConfigError, match=path.name):
        read()


EXAMPLE = {"weights": np.arange(600, dtype=np.float32)}


def _checkpoint(folder, train):
    from malgen.training.checkpoint import NAME, save_checkpoint

    counters = {"identity": "x", "chunk": 3, "in_a_row": 0}
    counters |= {"stopped_early": False, "blank": [5]}
    save_checkpoint(folder, EXAMPLE, counters, (), ())
    return folder / NAME


def _restore(folder):
    from malgen.training.checkpoint import load_checkpoint

    return load_checkpoint(folder, EXAMPLE, "x", dict)


def test_flipped_bits_of_rollouts_change_nothing_or_are_told(run, capsys):
    path = run / store.ROLLOUTS
    data = path.read_bytes()
    whole = store.read_arrays(path)
    rng = np.random.default_rng(1)
    told = 0
    for position in rng.integers(0, len(data), 60):
        path.write_bytes(flipped(data, position, int(rng.integers(8))))
        try:
            found = store.read_arrays(path)
        except ConfigError as error:
            told += 1
            assert store.ROLLOUTS in str(error) and "malgen deploy" in str(error)
            continue
        # dates and the like; every array has a checksum
        assert found.keys() == whole.keys()
        assert all(np.array_equal(found[name], whole[name]) for name in whole)
    assert told > 40
    for length in (0, 10, len(data) - 10):
        path.write_bytes(data[:length])
        assert store.ROLLOUTS in refused_untouched(capsys, run, "audit", run)


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        (store.MANIFEST, "audit"),
        (store.MANIFEST, "report"),
        (store.POLICIES, "deploy"),
        (store.POLICIES, "audit"),
        (store.ROLLOUTS, "audit"),
        (store.HISTORY, "audit"),
        (store.VERDICT, "report"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "half", "empty", "folder", "noise"])
def test_a_damaged_file_is_named_and_nothing_is_lost(name, verb, damage, run, capsys):
    path = run / name
    data = path.read_bytes()
    path.unlink()
    if damage == "half":
        path.write_bytes(data[: len(data) // 2 - 1])
    elif damage == "empty" and name != store.HISTORY:
        path.write_bytes(b"")
    elif damage == "folder":
        path.mkdir()
    elif damage == "noise":
        path.write_bytes(bytes(range(256)) * 4)
    assert Path(name).stem in refused_untouched(capsys, run, verb, run)


def changed(path, **fields):
    """A JSON file with some fields set, or removed when they are None."""
    found = json.loads(path.read_text())
    found.update(fields)
    for field in [field for field, value in fields.items() if value is None]:
        del found[field]
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"later": 1}, "the field later is unknown"),
        ({"scenario": None}, "scenario: Field required"),
        ({"seed": "five"}, "seed:"),
        ({"seed": -1}, "seed is -1"),
        ({"seeds": 0}, "seeds is 0"),
        ({"levels": 10**9}, "levels is 1000000000"),
        ({"price": float("nan")}, "NaN is not a finite number"),
        ({"scenario": "mazes"}, "no scenario named 'mazes'"),
        ({"shifts": [["suply", 1.0]]}, "did you mean 'supply'"),
        ({"shifts": [["supply", 2.0]]}, "strength 2.0"),
        ({"scenario": "keys-and-chests"}, "2 policies for 9 x 9 cells"),
        ({"seeds": 3}, "2 policies"),
    ],
)
def test_manifests_that_do_not_fit(fields, expected, run, capsys):
    changed(run / store.MANIFEST, **fields)
    assert expected in refused_untouched(capsys, run, "audit", run, "--price", 2)


def test_an_older_manifest_with_fewer_fields_is_read(run):
    """The counterpart: what has a default may be missing."""
    changed(run / store.MANIFEST, timesteps=None, type=None)
    assert store.read_manifest(run).timesteps is None


def test_other_packages_are_told_before_a_run_goes_on(run, capsys):
    found = store.versions() | {"jax": "0.1.0"}
    changed(run / store.MANIFEST, versions=found)
    line = ("run", tiny.NAME, "--out", run, "--resume", *LINE)
    said = refused_untouched(capsys, run, *line)
    assert "a run of jax 0.1.0, but jax" in said
    changed(run / store.MANIFEST, versions={})
    assert "is installed" in refused_untouched(capsys, run, *line)


def test_unknown_fields_of_results_are_told(run, capsys):
    changed(run / store.VERDICT, later=1)
    said = refused_untouched(capsys, run, "report", run)
    assert store.VERDICT in said and "field later is unknown" in said
    lines = (run / store.HISTORY).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"later": 1})
    (run / store.HISTORY).write_text("\n".join(lines))
    said = refused_untouched(capsys, run, "audit", run)
    assert store.HISTORY in said and "line 2" in said and "later" in said


def test_results_that_contradict_themselves_are_told(run, capsys):
    stakes = json.loads((run / store.VERDICT).read_text())["stakes"]
    stakes[0]["mean"] = [1.0]  # fewer utilities than prices
    changed(run / store.VERDICT, stakes=stakes)
    said = refused_untouched(capsys, run, "report", run)
    assert store.VERDICT in said and "malgen audit" in said


@pytest.mark.parametrize("text", [b"[]", b"[[[[", b'{"train": "x"}', b"\xff", b""])
def test_torn_timings_stop_nothing(text, run):
    (run / store.TIMINGS).write_bytes(text)
    with experiment._Clock(run, "audit"):
        pass
    assert json.loads((run / store.TIMINGS).read_text()).keys() == {"audit"}


def test_another_price_that_fails_changes_nothing(run, capsys, monkeypatch):
    before = kills.contents(run)

    def fail(*args, **options):
        raise ConfigError("No.")

    monkeypatch.setattr(experiment, "supply_ladder", fail)
    options = ["--price", "3", "--instruments", "verdict"]
    assert cli.main(["audit", str(run), *options]) == 2
    assert capsys.readouterr().err.endswith("No.\n")
    assert kills.contents(run) == before


# --- disks ----------------------------------------------------------------------------


def test_files_that_belong_together_are_replaced_together(tmp_path, monkeypatch):
    old = {tmp_path / name: name.encode() for name in "abc"}
    files.write_together(old)
    synced = []

    def sync(handle):
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    new = {path: b"new" for path in old}
    with pytest.raises(ConfigError, match="b could not be written"):
        files.write_together(new, remove=[tmp_path / "c"])
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == old
    monkeypatch.undo()
    del new[tmp_path / "c"]
    files.write_together(new, remove=[tmp_path / "c"])
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == new


REPORT = [sys.executable, "-m", "malgen", "report"]


def test_a_file_that_may_not_grow_is_told(run):
    """RLIMIT_FSIZE stands for a full disk; it binds every user."""
    before = kills.contents(run)
    # in blocks, which are smaller for some shells
    limit = (run / store.REPORT).stat().st_size // 2048
    command = ["sh", "-c", f'ulimit -f {limit}; exec "$@"', "sh", *REPORT, str(run)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert store.REPORT in done.stderr and done.stderr.count("\n") == 1
    assert kills.contents(run) == before


def mounted(folder, *options):
    """Mount a small tmpfs, or skip."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode != 0:
        pytest.skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    mounted(folder, "-o", "size=2m")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost(finished, disk, capsys):
    run = Path(shutil.copytree(finished, disk / "run"))
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1024))
    said = refused_untouched(capsys, run, "report", run)
    assert store.REPORT in said and "No space left on device" in said
    assert "No space left" in complaint(
        capsys, "train", tiny.NAME, "--out", disk / "new"
    )
    assert not (disk / "new").exists()
    # the counterpart: with room again, the same command works
    filler.unlink()
    assert cli.main(["report", str(run)]) == 0
    assert kills.difference(kills.contents(run), kills.contents(finished)) == ""


def test_a_read_only_disk_is_told(finished, disk, capsys):
    run = Path(shutil.copytree(finished, disk / "run"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for verb in ("deploy", "audit", "report"):
        said = refused_untouched(capsys, run, verb, run)
        assert f"{run} cannot be written" in said
    said = complaint(capsys, "train", tiny.NAME, "--out", disk / "new")
    assert str(disk / "new") in said and "Read-only" in said


def test_a_folder_of_somebody_else_is_told(finished, tmp_path):
    """As another user, because root may write everywhere."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not here to become another user")
    home = Path("/var/tmp") / f"malgen-test-{os.getpid()}"
    try:
        run = Path(shutil.copytree(finished, home / "run"))
        for path in (home, run):
            path.chmod(0o555)
        command = [*REPORT, str(run)]
        if os.geteuid() == 0:
            user = ("--reuid=65534", "--regid=65534", "--clear-groups")
            command = ["setpriv", *user, *command]
        environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": ""}
        environment.pop("JAX_COMPILATION_CACHE_DIR")  # also a home without a cache
        before = kills.contents(run)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if "Permission denied" in done.stderr and "python" in done.stderr.lower():
            pytest.skip(f"another user may not start Python: {done.stderr.strip()}")
        assert done.returncode == 2 and done.stdout == "", done.stderr
        assert f"{run} cannot be written" in done.stderr
        assert done.stderr.count("\n") == 1
        assert kills.contents(run) == before
    finally:
        for path in (home, home / "run"):
            path.chmod(0o755)
        shutil.rmtree(home)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_told():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "malgen", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1


def test_archives_hold_no_time(run):
    """Else two runs could not have the same bytes."""
    with zipfile.ZipFile(run / store.ROLLOUTS) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
