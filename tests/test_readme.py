"""What the README says is true: its commands parse, its examples run, its map fits."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from malgen import cli
from malgen.findings import LABELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^malgen ([^#\n]+)", README, re.MULTILINE)


@pytest.mark.parametrize("code", PYTHON)
def test_examples_run(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_first_example_is_short():
    lines = [line for line in PYTHON[0].splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command, capsys):
    words = shlex.split(command)
    verb = words[0]
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in text


def test_every_label_is_explained():
    for label in LABELS:
        assert f"`{label}`" in README


def test_the_map_names_every_module():
    table = README.split("## The folder map")[1].split("## Extend")[0]
    named = set(re.findall(r"`([\w/]+(?:\.py)?/?)`", table))
    package = ROOT / "src" / "malgen"
    for path in package.iterdir():
        if path.name.startswith("__"):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert name in named, f"README's map does not name {name}"
    for name in named:
        assert (package / name).exists(), f"README's map names {name}, which is gone"
