"""``python tests/newest_environment.py FOLDER``: malgen on the newest Python found.

Makes a virtual environment if a supported Python is on this machine that is newer than
the one that runs this. Whatever goes wrong is one sentence and no failure, because the
tests that need the environment are skipped without it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUPPORTED = ("3.13", "3.12")
INSTALL = "-m pip install --quiet --disable-pip-version-check -c constraints.txt -e ."
INPUTS = ("pyproject.toml", "constraints.txt")


def newest() -> str | None:
    """The interpreter to use, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for version in SUPPORTED:
        if tuple(map(int, version.split("."))) <= sys.version_info[:2]:
            return None
        found = [str(p) for p in sorted(pyenv.glob(f"{version}.*/bin/python"))]
        for python in (f"python{version}", *found):
            # a name may be there and lead nowhere, and Debian may lack ensurepip
            path = shutil.which(python)
            works = path and subprocess.run(
                [path, "-c", "import ensurepip"], capture_output=True, check=False
            )
            if works and works.returncode == 0:
                return path
    return None


def main(folder: Path) -> None:
    """Make or renew the environment."""
    stamp = folder / "installed"
    newer = [Path(name).stat().st_mtime for name in INPUTS]
    if stamp.exists() and stamp.stat().st_mtime >= max(newer):
        return
    python = newest()
    if python is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([python, "-m", "venv", folder], check=True)
        inside = folder / "bin" / "python"
        subprocess.run([inside, *INSTALL.split()], check=True)
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        print("No environment with the newest Python; its tests are skipped.")
        return
    stamp.touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
