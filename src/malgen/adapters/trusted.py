"""Files that run code when they are loaded: only for those who trust who made them."""

from pathlib import Path
from typing import Any

from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import ConfigError, ForeignError, MalgenError, first_line

RUN_CODE = (".zip", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
"""Endings of what is a pickle, or holds some."""


def load_trusted(path: Path, trust: bool, seconds: float = SECONDS) -> Any:
    """The object that such a file holds.

    Args:
        path: of a Stable-Baselines3 ``.zip``, or of what torch or pickle saved.
        trust: the user trusts the file.
        seconds: how long loading it may take.

    Raises:
        ConfigError: it is not trusted, is not there, or holds no policy.
        ForeignError: it failed while it was loaded, or that took too long.
    """
    if not path.is_file():
        raise ConfigError(f"There is no file {path}; give a file with a policy.")
    if not trust:
        raise ConfigError(
            f"{path} is not loaded, because loading a {path.suffix} file runs code "
            "that the file contains; export the policy to ONNX, which is only data, "
            "or, if you trust who made it, give --trust (in Python trust=True)."
        )
    try:
        with time_limit(f"Loading {path}", seconds):
            return _loaded(path)
    except MalgenError:
        raise
    except (Exception, SystemExit) as error:
        raise ForeignError(
            f"{path} could not be loaded: {type(error).__name__}: {first_line(error)}."
        ) from error


def _loaded(path: Path) -> Any:
    if path.suffix == ".zip":
        return _stable_baselines(path)
    if path.suffix in (".pkl", ".pickle"):
        import pickle

        with path.open("rb") as file:
            return pickle.load(file)
    if path.suffix == ".joblib":
        joblib = _imported("joblib", path, "joblib")
        return joblib.load(path)
    torch = _imported("torch", path, "'malgen[sb3]'")
    return torch.load(path, map_location="cpu", weights_only=False)


def _imported(module: str, path: Path, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f"{path} needs {module}, which is not installed: pip install {extra}."
        ) from None


def _stable_baselines(path: Path) -> Any:
    """The model, by the first algorithm that takes the file.

    The file does not say which algorithm made it; another one's parameters do not fit.
    """
    library = _imported("stable_baselines3", path, "'malgen[sb3]'")
    candidates = [getattr(library, name) for name in ("PPO", "A2C", "DQN", "SAC")]
    candidates += [library.TD3, library.DDPG]
    try:
        import sb3_contrib

        names = ("RecurrentPPO", "MaskablePPO", "QRDQN", "TRPO", "ARS", "TQC")
        candidates += [getattr(sb3_contrib, name) for name in names]
    except ImportError:
        pass
    reasons = []
    for algorithm in candidates:
        try:
            return algorithm.load(path, device="cpu")
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reasons.append(f"{algorithm.__name__}: {lines[0].rstrip('.')[:80]}")
    raise ConfigError(
        f"{path} was made by no algorithm of Stable-Baselines3 or sb3-contrib that is "
        f"installed here ({reasons[0]}); load it in Python and give malgen.audit the "
        "model."
    )
