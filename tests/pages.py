"""Markdown pages as tests: what they show is run, and what they print is compared.

Fenced blocks, in the order of a page and in one folder per page:

* ``text NAME`` and ``python NAME``: a file that the reader writes;
* ``console``: lines with ``$`` are commands, the others their standard output, where
  ``...`` stands for anything; after a failure also standard error, and the line
  ``exit status N``;
* ``pycon``: a doctest, with the names of earlier blocks;
* ``python`` without a name: code that must run, with the names of earlier blocks.

A comment ``<!-- not run: why -->`` before a console block says that its commands are
only compared with the parser. Every other block is for reading.
"""

import contextlib
import difflib
import doctest
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from malgen import cli

ROOT = Path(__file__).parent.parent
FENCE = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n+)?^```(?P<kind>\w+)(?: (?P<name>\S+))?\n"
    r"(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    name: str
    body: str
    line: int
    run: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            kind=found["kind"],
            name=found["name"] or "",
            body=found["body"],
            line=text.count("\n", 0, found.start("body")) + 1,
            run=found["mark"] is None,
        )
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[tuple[str, str]]:
    """(command, expected output) pairs of a console block."""
    parts = re.split(r"^\$ (.*)\n", block.body, flags=re.MULTILINE)
    assert not parts[0].strip(), f"output before a command: {parts[0]!r}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(page: Path, folder: Path) -> None:
    """Do what a page says, in an empty folder; raises where it is not true."""
    names: dict[str, object] = {"__name__": "page"}
    with contextlib.chdir(folder):
        for block in blocks(page):
            where = f"{page.name}, line {block.line}"
            if block.name:
                Path(block.name).write_text(block.body)
            elif block.kind == "console":
                for command, expected in commands(block):
                    if block.run:
                        compare(where, command, expected, output_of(command))
                    else:
                        parses(command)
            elif block.kind == "pycon":
                doctests(block, where, names)
            elif block.kind == "python":
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(block.body, where, "exec"), names)


def compare(where: str, command: str, expected: str, got: str) -> None:
    """Fail with a readable difference unless the output is as shown."""
    # lines may end in the blanks that tables are filled up with
    got = "\n".join(line.rstrip() for line in got.splitlines()).strip() + "\n"
    expected = expected.strip() + "\n"
    if not doctest.OutputChecker().check_output(expected, got, FLAGS):
        lines = difflib.unified_diff(
            expected.splitlines(), got.splitlines(), "page", "real", lineterm=""
        )
        raise AssertionError(f"{where}: $ {command}\n" + "\n".join(lines))


def output_of(command: str) -> str:
    """Standard output (and error, after a failure) of a command on a page."""
    words = shlex.split(command)
    if words[0] == "pytest":
        return _pytest([_found(word) for word in words[1:]])
    out, err = io.StringIO(), io.StringIO()
    # in this process, because starting JAX takes longer than most commands
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if words[0] == "python":
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
            status = 0
        else:
            assert words[0] == "malgen", f"cannot run {command!r}"
            status = cli.main([_found(word) for word in words[1:]])
    told = out.getvalue() + (err.getvalue() if status else "")
    return told + (f"exit status {status}\n" if status else "")


def _pytest(words: list[str]) -> str:
    """What pytest prints, in a process of its own, for a suite that is not ours."""
    # options and other plugins of whoever runs the tests would print lines of their own
    alone = {**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugin = ["-p", "malgen.pytest_plugin", "-p", "no:cacheprovider"]
    Path("pytest.ini").write_text("[pytest]\n")  # and none of our own settings
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini", *plugin, *words],
        env=alone | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    status = f"exit status {result.returncode}\n" if result.returncode else ""
    return re.sub(r"^\d+ passed.*\n", "", result.stdout, flags=re.MULTILINE) + status


def _found(word: str) -> str:
    """Pages are read in the repository's folder but run in one of their own."""
    return str(ROOT / word) if word.startswith("examples/") else word


def doctests(block: Block, where: str, names: dict[str, object]) -> None:
    """Run a block of interactive Python; later blocks see its names."""
    test = doctest.DocTestParser().get_doctest(block.body, names, where, where, 0)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(test, out=told.append, clear_globs=False)
    assert not told, "".join(told)
    names.update(test.globs)


def parses(command: str) -> None:
    """A command that is too long to run has a verb, arguments and options that exist.

    A verb alone is taken for its name.
    """
    words = shlex.split(command, comments=True)
    if words[0] == "python":
        assert (ROOT / words[1]).is_file(), f"no such file: {command}"
        return
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"no such target: {command}"
        return
    assert words[0] == "malgen", f"cannot check {command!r}"
    assert words[1] in cli.VERBS, f"no such verb: {command}"
    if len(words) > 2 and words[2:] != ["--help"]:
        cli._parser(words[1], cli.VERBS[words[1]]).parse_args(words[2:])
