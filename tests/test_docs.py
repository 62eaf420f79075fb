"""What the pages say is true: they are run, complete, linked, and they build."""

import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import malgen
import pages
from malgen import check, cli
from malgen.findings import LABELS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN = (
    "malign-generalization",
    "keys-and-chests",
    "statistics",
    "extending",
    "tutorial",
    "your-environment",
    "gate-a-pipeline",
    "foreign-policies",
    "export",
)


@pytest.mark.parametrize("name", RUN)
def test_what_a_page_shows_is_true(name, tmp_path):
    pages.run(DOCS / f"{name}.md", tmp_path)


def test_every_page_with_commands_is_run():
    for page in DOCS.glob("*.md"):
        kinds = {block.kind for block in pages.blocks(page)}
        assert page.stem in RUN or not kinds & {"console", "pycon"}, page


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_commands_in_the_text_parse(page):
    found = re.findall(r"`((?:malgen|make) [a-z]+[^`]*)`", page.read_text())
    for command in found:
        command = " ".join(command.split())
        if not re.search(r"\b[A-Z]{3,}|\.\.\.", command):  # RUN, NAME=STRENGTH, ...
            pages.parses(command)


# --- the matcher itself ----------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ malgen --version\nmalgen 9.9.9\n```\n",
        "```console\n$ malgen lits\n...\nexit status 0\n```\n",
        "```pycon\n>>> 1 + 1\n3\n\n```\n",
        "```python\nraise AssertionError\n```\n",
        "<!-- not run: too long -->\n```console\n$ malgen run x --sedes 3\n```\n",
    ],
)
def test_a_page_that_is_not_true_fails(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, malgen.MalgenError)):
        pages.run(page, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f"```console\n$ malgen --version\nmalgen {malgen.__version__}\n```\n",
        "```console\n$ malgen lits\n...\nexit status 2\n```\n",
        "```pycon\n>>> 1 + 1\n2\n\n```\n",
        "<!-- not run: too long -->\n```console\n$ malgen run x --seeds 3\n```\n",
    ],
)
def test_a_page_that_is_true_passes(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    pages.run(page, tmp_path)


# --- examples ----------------------------------------------------------------------


BROKEN = {
    "01_agent": ("return sharp_logits(action), action", "return action, action", "P1"),
    "02_objective": ("grown.astype(jnp.float32)", "grown / 0.0", "O2"),
    "03_shift": ("strength * (1.0", "(0.5 + strength / 2) * (1.0", "S1"),
    "04_world": (
        "state.apples, state.eggs], axis",
        "state.eggs, state.eggs], axis",
        "W4",
    ),
}


def test_every_example_is_shown_and_run_on_a_page():
    shown = {page: page.read_text() for page in DOCS.glob("*.md")}
    for example in (ROOT / "examples").glob("*.py"):
        include = f"{{literalinclude}} ../examples/{example.name}"
        (text,) = (text for text in shown.values() if include in text)
        run = r"^\$ (python|pytest) examples/" + re.escape(example.name)
        assert re.search(run, text, re.MULTILINE)
    for name in BROKEN:
        assert (
            f"$ malgen check examples/{name}.py" in (DOCS / "extending.md").read_text()
        )


@pytest.mark.parametrize("name", BROKEN)
def test_check_refuses_a_broken_example(name, tmp_path):
    good, bad, law = BROKEN[name]
    source = (ROOT / "examples" / f"{name}.py").read_text()
    assert source.count(good) == 1
    path = tmp_path / f"{name}.py"
    path.write_text(source.replace(good, bad))
    found = check.check_file(path)
    assert found.status == 2
    assert any(one.passed is False and one.law.startswith(law) for one in found.laws)


# --- completeness ------------------------------------------------------------------


def words() -> str:
    return "\n".join(page.read_text() for page in sorted(DOCS.rglob("*.md")))


def test_every_name_is_documented():
    text = words()
    names = [m["name"] for group in cli.catalog().values() for m in group]
    missing = [name for name in (*names, *LABELS) if f"`{name}`" not in text]
    assert not missing


def test_every_verb_and_exit_status_is_documented():
    text = (DOCS / "cli.md").read_text()
    for verb in cli.VERBS:
        assert f"## {verb}\n\n```{{malgen-help}} {verb}\n" in text
    own = (cli.DONE, 1, cli.BAD_USAGE, cli.FAILED_ON, cli.INTERRUPTED, cli.BROKEN_PIPE)
    for status in (*own, 128 + signal.SIGTERM):
        assert f"| `{status}` |" in text


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.md").read_text()
    for name in malgen.__all__:
        if name != "__version__":
            assert re.search(rf":: malgen\.{name}$", text, re.MULTILINE), name


# --- building ----------------------------------------------------------------------


class Links(HTMLParser):
    """What a page refers to, and where one can jump to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        loaded = tag in ("script", "img", "iframe", "source") and found.get("src")
        if tag in ("a", "link") and found.get("href"):
            self.links.append(found["href"])
        elif loaded:
            self.links.append(loaded)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as ``make docs`` builds them; warnings are errors."""
    pytest.importorskip("sphinx", reason="needs the extra 'docs'")
    target = next(
        line
        for line in (ROOT / "Makefile").read_text().splitlines()
        if "sphinx-build" in line
    )
    options = target.split("sphinx-build ")[1].split(" docs docs/_build/html")[0]
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", *options.split(), DOCS, out],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return out


def test_links_lead_somewhere_and_nothing_is_fetched(site):
    read = {}
    for page in site.rglob("*.html"):
        read[page] = Links()
        read[page].feed(page.read_text())
    assert len(read) > 10
    for page, found in read.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            where = (
                (page.parent / unquote(parts.path)).resolve() if parts.path else page
            )
            assert where.exists(), f"{page.name} links {link}"
            if parts.fragment and where in read:
                assert parts.fragment in read[where].places, f"{page.name}: {link}"
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"(?:https?:)?//[^\"]*", page.read_text()
        )
        assert not loaded


def test_the_sample_report_is_quoted_as_it_is(site):
    page = (site / "reading-a-report.html").read_text()
    assert "{{" not in page
    report = (site / "sample-report.html").read_text()
    for number in re.findall(r"\[[−\d., ]+\]", page):
        assert number in report, number


def test_the_reference_of_the_command_line_is_what_the_program_prints(site):
    page = (site / "cli.html").read_text()
    for verb in cli.VERBS:
        assert f"usage: malgen {verb} " in page
