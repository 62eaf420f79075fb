"""Anything that acts, as an actor: the one place that decides how a policy is asked."""

import contextlib
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces

from malgen.adapters.actor import Actor
from malgen.adapters.function import FunctionActor
from malgen.adapters.onnx_file import OnnxActor, OnnxFile
from malgen.adapters.stable_baselines import PredictActor
from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.adapters.trusted import RUN_CODE, load_trusted
from malgen.errors import ConfigError, ContractError, ForeignError, first_line


def as_actor(
    policy: Any,
    observation_space: gymnasium.Space | None = None,
    action_space: gymnasium.Space | None = None,
    *,
    name: str = "",
    seconds: float = SECONDS,
    trust: bool = False,
) -> Actor:
    """Anything that acts, as an actor.

    Args:
        policy: an ``Actor`` or ``OnnxFile``; an object with Stable-Baselines3's
            ``predict``; a function from one observation to an action (or to a row of
            logits); the path of an ONNX file; "package.module:factory", where the
            factory returns any of these; or, with ``trust``, the path of a file that
            runs code when it is loaded.
        observation_space: of the environment; None: the policy's own, where it says.
        action_space: of the environment; None: the policy's own, where it says. What
            a function returns is then taken for actions, whatever they are.
        name: how reports call it; "": its own name.
        seconds: how long one call may take.
        trust: files that run code when they are loaded may be loaded.

    Raises:
        ConfigError: a file or module that is not there, cannot be read, or is not
            trusted.
        ContractError: it cannot act, or was made for other observations or actions.
        ForeignError: a factory or a file raised.
    """
    found = opened(policy, seconds=seconds, trust=trust)
    if not name and isinstance(policy, str | Path):
        name = str(policy)
    if isinstance(found, Actor):
        return found
    shape = one_array(observation_space)
    if isinstance(found, OnnxFile):
        if observation_space is None:
            shape = found.any_observation()
        if action_space is None:
            action_space = found.action_space()
        return OnnxActor(found, shape, action_space, name=name, seconds=seconds)
    if callable(getattr(found, "predict", None)):
        if action_space is None:
            action_space = getattr(found, "action_space", None)
        if action_space is None:
            raise ContractError(
                f"A {type(found).__name__} does not say which actions there are; give "
                "action_space."
            )
        return PredictActor(found, shape, action_space, name=name, seconds=seconds)
    if callable(found):
        return FunctionActor(
            found,
            action_space,
            name=name,
            seconds=seconds,
            observation_space=observation_space,
        )
    kind = type(found).__name__
    raise ContractError(
        (f"{name} is of type {kind} and" if name else f"A {kind}")
        + " cannot act; give "
        "the name of a scripted agent, a function from an observation to an action, a "
        "model with predict, or the path of an ONNX file."
    )


def opened(policy: Any, *, seconds: float = SECONDS, trust: bool = False) -> Any:
    """What a path or a "module:factory" stands for; anything else as it is.

    Returns:
        An ``OnnxFile``, or what the file holds or the factory returns.

    Raises:
        ConfigError: not there, not readable, not trusted.
        ForeignError: the file or the factory raised, or took too long.
    """
    if not isinstance(policy, str | Path):
        return policy  # an OnnxFile too: it is open
    path = Path(policy)
    if path.suffix == ".onnx":
        return OnnxFile(path)
    if path.suffix in RUN_CODE:
        return load_trusted(path, trust, seconds)
    text = str(policy)
    if ":" in text and not path.exists():
        made = _made(text, seconds)
        # a factory may return a path, but not another factory
        if isinstance(made, str | Path) and Path(made).suffix in (".onnx", *RUN_CODE):
            return opened(Path(made), seconds=seconds, trust=trust)
        return made
    if path.suffix == ".py":
        raise ConfigError(
            f"{path} is Python code; give {'.'.join(path.with_suffix('').parts)}:"
            "FACTORY, where FACTORY is a function in it that returns the policy, or "
            "test it with 'malgen check'."
        )
    raise ConfigError(
        f"{text} is no policy that can be asked here; give an .onnx file, or "
        "package.module:factory for a policy of your own."
    )


def is_foreign(policy: str | Path) -> bool:
    """Whether a text or path stands for a policy that is not malgen's own."""
    path = Path(policy)
    known = (".onnx", ".py", *RUN_CODE)
    return path.suffix in known or (":" in str(policy) and not path.exists())


def one_array(space: gymnasium.Space | None) -> tuple[int, ...] | None:
    """The shape of an observation that is one array; None for dictionaries and more."""
    plain = spaces.Box | spaces.MultiBinary | spaces.Discrete | spaces.MultiDiscrete
    return space.shape if isinstance(space, plain) else None


def _made(text: str, seconds: float) -> Any:
    """What "package.module:factory" returns; its code runs."""
    module_name, _, attribute = text.partition(":")
    names = attribute.split(".")
    if not all(n.isidentifier() for n in (*module_name.split("."), *names)):
        raise ConfigError(
            f"{text!r} names no policy; write package.module:factory, both as Python "
            "names."
        )
    # as for 'python -m': what lies in the working folder can be imported
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with time_limit(f"The module {module_name}", seconds):
            found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise ConfigError(
                f"There is no module {error.name}, which {text!r} names; give one that "
                "can be imported from here."
            ) from None
        raise _raised(text, error, "when it was imported") from error
    except (Exception, SystemExit) as error:
        if isinstance(error, ForeignError):
            raise
        raise _raised(text, error, "when it was imported") from error
    finally:
        with contextlib.suppress(ValueError):  # the module may have removed it
            sys.path.remove(here)
    for name in names:
        if not hasattr(found, name):
            raise ConfigError(
                f"The module {module_name} has no {attribute}; give the name of a "
                "function without arguments that returns the policy."
            )
        found = getattr(found, name)
    if isinstance(found, Actor) or not callable(found):
        return found
    try:
        with time_limit(f"The factory {text}", seconds):
            return found()
    except (Exception, SystemExit) as error:
        if isinstance(error, ForeignError):
            raise
        raise _raised(text, error, "when it was called without arguments") from error


def _raised(text: str, error: BaseException, when: str) -> ForeignError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f" in {Path(frame.filename).name}, line {frame.lineno}"
    return ForeignError(
        f"{text} raised {type(error).__name__} {when}: {first_line(error)}"
        + (where if frame.filename != __file__ else "")
        + "."
    )
