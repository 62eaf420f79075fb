"""What the README says is true: its commands run or parse, its examples run."""

import re
from pathlib import Path

import pytest

import pages
from malgen.findings import LABELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^(malgen [^#\n]+)", README, re.MULTILINE)
COMMANDS += re.findall(r"`(malgen [a-z]+ [^`]+)`", README)
TARGETS = re.findall(r"\bmake \w+", README)


def test_the_first_example_is_short():
    lines = [line for line in PYTHON[0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_what_it_shows_is_true(tmp_path, capsys):
    kinds = {block.kind for block in pages.blocks(ROOT / "README.md")}
    assert kinds == {"text", "console", "python"}
    pages.run(ROOT / "README.md", tmp_path)


def test_the_deployment_level_is_the_one_that_is_shown_beside_training():
    both = re.findall(r"^  (\S{9}) {11}(\S{9})", README, re.MULTILINE)
    assert len(both) == 5
    deployment = "".join(right + "\n" for _, right in both)
    [level] = [b for b in pages.blocks(ROOT / "README.md") if b.name == "my_level.txt"]
    assert level.body == deployment
    # the training level differs in nothing but what lies where the extra keys are
    for left, right in both:
        assert left == right.replace("k", "c") or "@" in left


@pytest.mark.parametrize("command", sorted({*COMMANDS, *TARGETS}))
def test_commands_parse(command):
    pages.parses(command)


def test_every_label_is_explained():
    for label in LABELS:
        assert f"`{label}`" in README


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), f"README links {link}, which is not there"


def test_it_is_short():
    assert len(README.splitlines()) <= 160


def test_the_map_names_every_module():
    table = README.split("## The folder map")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w/]+(?:\.py)?/?)`", table))
    package = ROOT / "src" / "malgen"
    for path in package.iterdir():
        if path.name.startswith("__"):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert name in named, f"README's map does not name {name}"
    for name in named:
        assert (package / name).exists(), f"README's map names {name}, which is gone"
