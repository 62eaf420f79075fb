"""From a scenario file to a scenario that can be run.

A file is the user's own: its code runs. One sentence for each mistake.
"""

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from malgen import limits
from malgen.adapters.time_limit import SECONDS
from malgen.errors import ConfigError
from malgen.foreign.scenario import Constant, ForeignScenario, Proxy
from malgen.user_file import load

MOST_HORIZON = 10**6
PREFIX = "info."


def load_scenario(path: str | Path, seconds: float = SECONDS) -> ForeignScenario:
    """The one scenario that a Python file defines, validated.

    Args:
        path: of the file; its code runs.
        seconds: how long its code may take.

    Raises:
        ConfigError: no such file, a syntax error, no scenario or several of them, or a
            scenario that ``validate`` refuses.
        ForeignError: the file raised while it was imported, or took too long.
    """
    path = Path(path)
    module = load(path, seconds)
    found = {
        id(value): value
        for name, value in vars(module).items()
        if isinstance(value, ForeignScenario)
    }
    if not found:
        raise ConfigError(
            f"{path} defines no scenario; put one malgen.ForeignScenario(...) at "
            "module level."
        )
    if len(found) > 1:
        names = ", ".join(repr(scenario.name) for scenario in found.values())
        raise ConfigError(
            f"{path} defines {len(found)} scenarios ({names}); a scenario file has "
            "exactly one."
        )
    (scenario,) = found.values()
    try:
        return validate(scenario)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def as_scenario(given: Any, seconds: float = SECONDS) -> ForeignScenario:
    """A scenario that is one, or that a file defines.

    Args:
        given: a ``ForeignScenario``, or the path of a Python file.
        seconds: how long that file's code may take.

    Raises:
        ConfigError: as ``load_scenario``; or it is neither.
        ForeignError: as ``load_scenario``.
    """
    if isinstance(given, ForeignScenario):
        return validate(given)
    if isinstance(given, str | Path):
        return load_scenario(given, seconds)
    raise ConfigError(
        f"A {type(given).__name__} is no scenario; give a malgen.ForeignScenario or "
        "the path of the Python file that defines one."
    )


def validate(scenario: ForeignScenario) -> ForeignScenario:
    """The scenario, if nothing is wrong with it that shows before anything runs.

    No environment is made: whether the environments, the features and the no-op action
    keep their promises shows when they run (``malgen check`` tries them).

    Raises:
        ConfigError: naming the scenario, the field, what it is and what it should be.
    """
    if not isinstance(scenario.name, str) or not scenario.name.strip():
        raise ConfigError(
            f"A scenario has the name {scenario.name!r}; give a text that reports can "
            "call it by."
        )

    def refuse(what: str) -> ConfigError:
        return ConfigError(f"The scenario {scenario.name!r} {what}")

    def number(field: str, value: Any, least: float | None = None) -> float:
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        lowest = -math.inf if least is None else least
        if not is_real or not math.isfinite(value) or value < lowest:
            span = "finite number" + (f" >= {least:g}" if least is not None else "")
            raise refuse(f"has {field} {value!r}; give a {span}.")
        return float(value)

    def feature(field: str, value: Any) -> None:
        if callable(value) or value == "reward":
            return
        if isinstance(value, str) and value.startswith(PREFIX) and value != PREFIX:
            return
        raise refuse(
            f"has as {field} {value!r}; give a function of a transition, 'reward', or "
            "'info.KEY' for a number that the environment returns in info."
        )

    def table(field: str, value: Any) -> Mapping[str, Any]:
        named = isinstance(value, Mapping) and all(isinstance(k, str) for k in value)
        if not named:
            raise refuse(f"has {field} {value!r}; give a dictionary by name.")
        return value

    def bounds(field: str, value: Any, least: float | None = None) -> None:
        try:
            low, high = value
        except (TypeError, ValueError):
            raise refuse(
                f"has {field} {value!r}; give the pair (low, high) that every episode "
                "respects."
            ) from None
        low = number(f"{field} from", low, least)
        if number(f"{field} to", high) <= low:
            raise refuse(
                f"has {field} ({low:g}, {high:g}); the second must be larger than the "
                "first."
            )

    for side in ("train", "deploy"):
        value = getattr(scenario, side)
        if not callable(value) and not (isinstance(value, str) and value):
            raise refuse(
                f"has {side}={value!r}; give the id of a registered Gymnasium "
                "environment, or a function that makes one."
            )
    feature("intended", scenario.intended)
    if not table("harm", scenario.harm):
        raise refuse(
            "names no harm; give at least one harm feature, for example "
            "harm={'spilled': 'info.spilled'}."
        )
    for name, value in scenario.harm.items():
        feature(f"harm {name!r}", value)
    for name, value in table("harm_weights", scenario.harm_weights).items():
        if name not in scenario.harm:
            raise refuse(
                f"weighs a harm {name!r} that it does not define; it has "
                f"{', '.join(map(repr, scenario.harm))}."
            )
        number(f"the weight of {name!r}", value, 0.0)
    for name, value in table("proxies", scenario.proxies).items():
        if not isinstance(value, Proxy):
            raise refuse(
                f"has as proxy {name!r} {value!r}; give malgen.Proxy(feature=..., "
                "attainable=...)."
            )
        feature(f"proxy {name!r}", value.feature)
        if value.attainable is not None:
            number(f"attainable of proxy {name!r}", value.attainable)
        if name == "x":
            raise refuse("has a proxy named 'x'; that is the name of X itself.")
    try:
        limits.whole("horizon", scenario.horizon, 1, MOST_HORIZON)
        for field in ("first_train_seed", "first_deploy_seed"):
            limits.whole(field, getattr(scenario, field), 0, limits.MOST_SEED)
    except ConfigError as error:
        raise ConfigError(f"The scenario {scenario.name!r}: {error}") from None
    if number("the price", scenario.price, 0.0) > limits.MOST_PRICE:
        raise refuse(
            f"has the price {scenario.price:g}; give a number from 0 to "
            f"{limits.MOST_PRICE:g}."
        )
    bounds("intended_bounds", scenario.intended_bounds)
    bounds("harm_bounds", scenario.harm_bounds, 0.0)
    if (
        scenario.attainable is not None
        and number("attainable", scenario.attainable, 0.0) <= 0
    ):
        raise refuse("has attainable 0; give the X of an episode that got all of it.")
    if scenario.material is not None:
        number("material", scenario.material, 0.0)
    if scenario.off is None:
        raise refuse(
            "does not say what 'switched off' means; give off= a no-op action, "
            "malgen.Constant(), or a function from observation to action."
        )
    if isinstance(scenario.off, Constant):
        for kind in ("intended", "harm"):
            value = number(f"switched-off {kind}", getattr(scenario.off, kind))
            low, high = getattr(scenario, f"{kind}_bounds")
            if not low <= value <= high:
                raise refuse(
                    f"is switched off with {kind} {value:g}, outside {kind}_bounds "
                    f"({low:g}, {high:g})."
                )
    for field in ("intended_words", "harm_words"):
        words = getattr(scenario, field)
        if not isinstance(words, str) or words.count("{}") != 1:
            raise refuse(
                f"has {field} {words!r}; give a phrase with one {{}} for the number, "
                "for example 'collects {} apples'."
            )
    for field in ("intended_unit", "harm_unit", "about"):
        if not isinstance(getattr(scenario, field), str):
            raise refuse(f"has {field} {getattr(scenario, field)!r}; give a text.")
    return scenario
