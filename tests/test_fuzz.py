"""Whatever it is given: an answer or one sentence, no traceback, no hang.

The suite takes a modest number of examples; ``make fuzz`` (MALGEN_FUZZ=1) takes the
full number, other ones each time, and prints how many there were.
"""

import contextlib
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import gymnasium
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samples
import tiny
from malgen import cli, store
from malgen.errors import MalgenError
from malgen.findings import from_json
from malgen.grid import text
from malgen.play import read_level
from malgen.result import HistoryPoint
from malgen.worlds.keys_and_chests import draw_level, parse_level

FULL = bool(os.environ.get("MALGEN_FUZZ"))
COUNTS: Counter[str] = Counter()
STATUSES = {0, 1, 2, 3, 130}


def examples(suite: int, full: int):
    """How many examples; the full number is random, so that more runs find more."""
    return settings(
        max_examples=full if FULL else suite,
        derandomize=not FULL,
        # what a test writes is replaced by each example
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def told():
    yield
    for name, number in sorted(COUNTS.items()):
        print(f"fuzz: {number:6} {name}")


def one_sentence(error: MalgenError) -> None:
    """What the command line makes of it is one line that ends."""
    said = " ".join(str(error).split())
    assert said.endswith((".", ")", "?")), said


def call(*argv: str) -> tuple[int, str]:
    """Status and standard error of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(list(argv))
    assert status in STATUSES, argv
    said = err.getvalue()
    assert "Traceback" not in said and "Warning" not in said, said
    return status, said


def refused(status: int, said: str) -> None:
    """One line, if something was wrong."""
    if status == 2 and not said.startswith("usage:"):
        assert said.count("\n") == 1 and said.strip(), said


# --- levels ---------------------------------------------------------------------------

# mostly what levels are made of, so that many examples come close to one
CELLS = st.sampled_from("#" * 6 + "." * 6 + "kcKC@")
NOISE = st.one_of(CELLS, st.characters())
ROWS = st.one_of(
    st.text(CELLS, max_size=12),
    st.text(NOISE, max_size=12),
    st.builds(lambda n: f"held {n}", st.one_of(st.integers(), st.text(max_size=8))),
)


@st.composite
def boxes(draw) -> str:
    """A level with its border, and now and then one thing wrong."""
    # few sizes, because each compiles
    height, width = draw(st.sampled_from([(3, 3), (4, 7), (6, 5), (9, 9)]))
    rows = [["#"] * width for _ in range(height)]
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            rows[i][j] = draw(st.sampled_from("........#kcKC"))
    rows[draw(st.integers(1, height - 2))][draw(st.integers(1, width - 2))] = "@"
    if draw(st.integers(0, 4)) == 0:
        i, j = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rows[i][j] = draw(NOISE)
    held = draw(st.sampled_from(["", "", "\nheld 2", "\nheld 99", "\nHELD  x"]))
    return "\n".join(map("".join, rows)) + held


LEVELS = st.one_of(
    boxes(), st.lists(ROWS, max_size=12).map("\n".join), st.text(max_size=60)
)


@examples(150, 10_000)
@given(LEVELS)
def test_level_text(picture):
    COUNTS["level texts"] += 1
    try:
        level = text.parse(picture)
    except MalgenError as error:
        one_sentence(error)
        return
    COUNTS["level texts that were levels"] += 1
    # what is taken is what is drawn again
    again = text.parse(text.draw(level))
    assert text.draw(again) == text.draw(level)
    assert draw_level(parse_level(picture)) == text.draw(level)


def encoded(picture: str) -> bytes:
    return picture.encode("utf-8", "ignore")


@examples(40, 3_000)
@given(st.one_of(st.binary(max_size=80), LEVELS.map(encoded)))
def test_level_files_through_play(tmp_path_factory, data):
    COUNTS["level files"] += 1
    file = tmp_path_factory.getbasetemp() / "fuzzed-level.txt"
    file.write_bytes(data)
    try:
        read_level(file)
    except MalgenError:
        status, said = call("play", tiny.NAME, "--level", str(file))
        assert status == 2
    else:
        # a level that can be played needs a terminal, which there is none of here
        status, said = call("play", tiny.NAME, "--level", str(file))
        assert status == 2 and "terminal" in said
    refused(status, said)


@examples(10, 300)
@given(LEVELS)
def test_levels_through_gymnasium(picture):
    COUNTS["levels through Gymnasium"] += 1
    try:
        parse_level(picture)
    except MalgenError:
        with pytest.raises(MalgenError):
            gymnasium.make("malgen/KeysAndChests-v0", level=picture)
    else:
        gymnasium.make("malgen/KeysAndChests-v0", level=picture).close()


# --- files of a run -------------------------------------------------------------------

NAN = float("nan")
NUMBERS = st.one_of(
    st.integers(),
    st.floats(0, 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**32, 2**63, 10**30, 1e308, -1e308, 5e-324, NAN]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=6,
)


@st.composite
def changes(draw, document):
    """A JSON document with one to three things changed somewhere inside it."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        inside = document
        while True:
            keys = (
                list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            )
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            below = inside[key]
            if isinstance(below, dict | list) and below and draw(st.integers(0, 5)):
                inside = below
                continue
            action = draw(st.integers(0, 9))
            if isinstance(below, int | float) and action > 2:
                inside[key] = draw(NUMBERS)
            elif isinstance(below, str) and action > 2:
                inside[key] = draw(st.text(max_size=6))
            elif isinstance(below, list) and action > 2:
                inside[key] = below[: draw(st.integers(0, 2))]
            elif action == 0:
                del inside[key]
            elif action == 1 and isinstance(inside, dict):
                inside[draw(st.text(max_size=6))] = draw(VALUES)
            else:
                inside[key] = draw(VALUES)
            break
    return document


@st.composite
def torn(draw, document):
    """The bytes of a changed document, cut, or with a byte changed."""
    data = bytearray(json.dumps(draw(changes(document))).encode("utf-8", "replace"))
    damage = draw(st.integers(0, 9))
    if damage == 0:
        data = data[: draw(st.integers(0, len(data)))]
    elif damage == 1 and data:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


MANIFEST = json.loads(
    store.json_bytes(
        store.Manifest(
            scenario=tiny.NAME,
            seed=5,
            seeds=2,
            levels=64,
            shifts=(("supply", 0.5), ("maze", 1.0)),
            versions=store.versions(),
            platform=store.machine(),
        )
    )
)
RESULT = json.loads(store.json_bytes(samples.run()))
POINT = json.loads(
    store.json_bytes(
        HistoryPoint(
            seed=0,
            step=10,
            train_fraction=0.5,
            deploy_fraction=0.5,
            deploy_harm=1.0,
            deploy_utility=-0.5,
        )
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run without policies: nothing that is asked of it takes long."""
    run = tmp_path_factory.mktemp("fuzz") / "run"
    run.mkdir()
    return run


def written(run: Path, name: str, data: bytes) -> None:
    (run / name).write_bytes(data)


@examples(100, 5_000)
@given(data=st.one_of(torn(MANIFEST), st.binary(max_size=60)))
def test_manifests(folder, data):
    COUNTS["manifests"] += 1
    written(folder, store.MANIFEST, data)
    (folder / store.VERDICT).unlink(missing_ok=True)
    for verb in ("report", "deploy", "audit"):
        status, said = call(verb, str(folder))
        assert status == 2
        refused(status, said)
        assert str(folder) in said
    assert (folder / store.MANIFEST).read_bytes() == data


@examples(25, 500)
@given(data=torn(RESULT))
def test_verdicts_through_report(folder, data):
    COUNTS["verdicts"] += 1
    written(folder, store.MANIFEST, json.dumps(MANIFEST).encode())
    written(folder, store.VERDICT, data)
    (folder / store.REPORT).unlink(missing_ok=True)
    status, said = call("report", str(folder))
    refused(status, said)
    # drawn whole or not at all
    assert (folder / store.REPORT).exists() == (status == 0)
    COUNTS["verdicts that were drawn"] += status == 0


@examples(60, 3_000)
@given(lines=st.lists(st.one_of(torn(POINT), st.binary(max_size=20)), max_size=4))
def test_histories(folder, lines):
    COUNTS["histories"] += 1
    from malgen.experiment import _history

    written(folder, store.HISTORY, b"\n".join(lines))
    manifest = from_json(store.Manifest, json.dumps(MANIFEST))
    try:
        found = _history(folder, manifest)
    except MalgenError as error:
        one_sentence(error)
        assert store.HISTORY in str(error)
    else:
        assert all(0 <= point.train_fraction <= 1 for point in found)


# --- the command line -----------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders and files of every kind; none of them begins anything long."""
    home = tmp_path_factory.mktemp("cli")
    (home / "empty").mkdir()
    (home / "full").mkdir()
    (home / "full" / "notes.txt").write_text("mine")
    run = home / "run"  # with a verdict, without policies
    store.write_json(
        run / store.MANIFEST, store.from_json(store.Manifest, json.dumps(MANIFEST))
    )
    store.write_json(run / store.VERDICT, samples.run())
    damaged = home / "damaged"
    shutil.copytree(run, damaged)
    (damaged / store.POLICIES).write_bytes(b"half")
    (damaged / store.ROLLOUTS).write_bytes(b"half")
    (damaged / store.HISTORY).write_bytes(b"half")
    (home / "level.txt").write_text("#####\n#@kc#\n#####")
    (home / "agent.py").write_text("x = 1\n")
    (home / "raises.py").write_text("1 / 0\n")
    (home / "policy.safetensors").write_bytes(b"half")
    return home


PATHS = [
    "empty",
    "full",
    "run",
    "damaged",
    "level.txt",
    "agent.py",
    "raises.py",
    "policy.safetensors",
    "missing",
    "missing/too",
    "run/manifest.json",
]
NAMES = [
    "nearest-key",
    "x-oracle",
    "convolutional",
    "supply",
    "supply=0.5",
    "maze=2",
    "trap=",
]
LABELS = ["malign-any", "shortfall"]
SMALL = ["0", "1", "2", "30", "-1", "1e2", "0.5", "4294967295"]
WILD = ["4294967296", "9999999999999", "1e400", "nan", "inf"]
WORDS = [
    *cli.VERBS,
    tiny.NAME,
    "keys-and-chests",
    *NAMES,
    *LABELS,
    *SMALL,
    *WILD,
    *(f"@{path}" for path in PATHS),
]
OPTIONS = [
    *("--help", "--seed", "--json", "--seeds", "--price", "--levels", "--controls"),
    *("--out", "--resume", "--fail-on", "--timesteps", "--shift", "--scenario"),
    *("--no-gate", "--level", "--train", "--version", "-h", "--", "-"),
    *("--quiet", "--network"),
]
# what the operating system can pass on: no NUL
ANYTHING = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
ARGUMENTS = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(OPTIONS),
        st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(WORDS)),
        ANYTHING,
    ),
    max_size=7,
)
# real lines, so that arguments are understood and the work itself is reached
STARTS = st.sampled_from(
    [
        [],
        ["run", tiny.NAME],
        ["train", tiny.NAME, "--out", "@full"],
        ["report", "@run"],
        ["report", "@damaged"],
        ["deploy", "@run"],
        ["deploy", "@damaged"],
        ["audit", "@damaged"],
        ["audit", "@run"],
        ["play", tiny.NAME, "--level", "@level.txt"],
        ["watch", "nearest-key", "--level", "@level.txt"],
        ["watch", "@run"],
        ["watch", "@damaged"],
        ["check", "@agent.py"],
        ["check", "@raises.py"],
        ["list"],
    ]
)


def harmless(argv: list[str]) -> list[str]:
    """The same line, with an end that keeps it from working for minutes.

    The last value of an option counts, so runs go to a folder that is taken, and
    agents to a scenario that is none.
    """
    if argv and argv[0] in ("run", "train"):
        return [*argv, "--out", "@full"]
    if argv and argv[0] == "audit":
        return [*argv, "--scenario", "nowhere"]
    return argv


@examples(100, 2_000)
@given(start=STARTS, rest=ARGUMENTS)
def test_command_lines(places, monkeypatch, start, rest):
    COUNTS["command lines"] += 1
    monkeypatch.chdir(places / "empty")
    argv = [
        str(places / word[1:]) if word.startswith("@") else word
        for word in harmless([*start, *rest])
    ]
    status, said = call(*argv)
    COUNTS[f"command lines with status {status}"] += 1
    refused(status, said)
    assert not list((places / "empty").iterdir())
    assert [p.name for p in (places / "full").iterdir()] == ["notes.txt"]
