"""The main job on the newest Python and JAX of this machine, in a small form.

``make newest`` makes the environment where there is a newer supported Python than the
one the other tests run on.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import tiny
from malgen import store
from malgen.findings import LABELS, from_json
from malgen.result import RunResult

HERE = Path(__file__).parent
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
