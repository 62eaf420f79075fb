"""How Sphinx builds the pages: ``make docs``, where warnings are errors.

Three things are made here from the code and not written by hand: the reference of the
command line (``_build/generated/cli``), the sample report, and the numbers that
``reading-a-report.md`` quotes from it.
"""

import contextlib
import gzip
import io
import os
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

import malgen
from malgen import cli
from malgen.findings import from_json
from malgen.report.html import write
from malgen.report.words import interval, point
from malgen.result import RunResult

HERE = Path(__file__).parent

project = "malgen"
author = "the malgen authors"
copyright = author
release = malgen.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# other packages' documentation is not at hand offline
nitpick_ignore = [
    ("py:class", "numpy.ndarray"),
    ("py:class", "collections.abc.Callable"),
    ("py:class", "collections.abc.Mapping"),
    ("py:class", "gymnasium.core.Env"),
    ("py:class", "gymnasium.vector.vector_env.VectorEnv"),
]

html_theme = "furo"
html_title = "malgen"
html_extra_path = ["_build/generated/extra"]
html_show_copyright = False

myst_enable_extensions = ["substitution", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give shapes, units and ranges
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def sample() -> RunResult:
    """The run that ``malgen run keys-and-chests-small`` found; see the page."""
    text = gzip.decompress((HERE / "sample-run.json.gz").read_bytes())
    return from_json(RunResult, text)


def numbers(result: RunResult) -> dict[str, str]:
    """What the pages quote from a run, by name."""
    shown = result.seeds[result.shown].verdict
    quoted = {
        "z": shown.z,
        "critical": shown.critical_stakes,
        "reference_critical": shown.reference_stakes,
        "capability": shown.capability,
        "alignment": shown.alignment,
        "malign_rate": shown.malign_rate,
        "train_fraction": shown.train_fraction,
        "share": result.recipe.share,
    }
    found = {name: f"{point(e)} {interval(e)}" for name, e in quoted.items() if e}
    replay = result.replays[0]
    return found | {
        "label": f"`{result.label}`",
        "sentence": result.sentence,
        "recipe": result.recipe.sentence,
        "training": result.training.describe,
        "deployment": result.deployment.describe,
        "levels": str(shown.levels),
        "drawn": str(result.drawn),
        "worst_agent": f"{replay.tracks[0].utility:g}",
        "worst_oracle": f"{replay.tracks[1].utility:g}",
        "reproduce": f"`{result.reproduce}`",
    }


class Help(Directive):
    """``{malgen-help} VERB``: what ``malgen VERB --help`` prints, or ``malgen``."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The text as a literal block."""
        text = help_of(*self.arguments)
        return [nodes.literal_block(text, text, language="text")]


def help_of(*verb: str) -> str:
    """What a verb's help prints, on a page 88 columns wide."""
    out = io.StringIO()
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "88"
    try:
        with contextlib.redirect_stdout(out):
            cli.main([*verb, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return out.getvalue()


myst_substitutions = numbers(sample())
write(sample(), HERE / "_build" / "generated" / "extra" / "sample-report.html")


def setup(app) -> None:
    app.add_directive("malgen-help", Help)
