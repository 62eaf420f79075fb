"""Where each contestant lives: an environment of its own, outside the repository.

``python -m benchmarks --install`` makes them; whatever is missing becomes a row that
says so. jaxgmg is not on any index: its source folder is given by ``--jaxgmg``.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import WORKERS, Worker

HOME = Path(
    os.environ.get("MALGEN_BENCH_HOME")
    or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    / "malgen"
    / "bench"
)

# What each environment needs. jaxgmg's dependencies, without its loggers.
PACKAGES = {
    "jaxgmg": "jax flax chex distrax einops imageio jaxtyping optax pillow tqdm",
    "navix": "navix",
    "xminigrid": "xminigrid",
    "minigrid": "minigrid",
}


class Missing(Exception):
    """A contestant that is not there; how to get it, for a reader."""


def python_of(name: str) -> str:
    """The interpreter of a competitor's environment.

    Raises:
        Missing: there is none.
    """
    python = HOME / name / "bin" / "python"
    if not python.exists():
        raise Missing("not installed: python -m benchmarks --install")
    return str(python)


def malgen(name: str = "malgen") -> Worker:
    """This package, in the environment that runs the benchmarks."""
    return Worker(name, sys.executable, "with_malgen.py")


def jaxgmg(source: str | None) -> Worker:
    """jaxgmg from a folder.

    Raises:
        Missing: no folder was given, or it holds something else.
    """
    if source is None:
        raise Missing("not given: --jaxgmg PATH_TO_SOURCE")
    if not (Path(source) / "jaxgmg" / "environments").is_dir():
        raise Missing(f"no jaxgmg source in {Path(source).name}")
    path = os.pathsep.join([str(Path(source).resolve()), str(WORKERS / "stand_ins")])
    return Worker(
        "jaxgmg",
        python_of("jaxgmg"),
        "with_jaxgmg.py",
        (harness.commit(source),),
        environment={"PYTHONPATH": path},
    )


def stable_baselines3() -> Worker:
    """Runs where malgen runs.

    Raises:
        Missing: it is not installed.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        raise Missing("not installed: pip install 'malgen[sb3]'")
    return Worker("stable-baselines3", sys.executable, "with_sb3.py")


def other(name: str) -> Worker:
    """navix, xminigrid or minigrid.

    Raises:
        Missing: it is not installed.
    """
    return Worker(
        name,
        python_of(name),
        f"with_{name}.py",
        environment={"PYTHONPATH": None},
    )


def install() -> None:
    """Make the environments that are missing; one that fails stops nothing."""
    for name, packages in PACKAGES.items():
        folder = HOME / name
        python = folder / "bin" / "python"
        print(f"{name}: {folder}", flush=True)
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *packages.split()],
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name} could not be installed: {error}", flush=True)
