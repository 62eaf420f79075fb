"""Does a file's world, agent, objective, shift or scenario keep its laws?

The file is imported, so its code runs: it is the user's own. What it defines at
module level is checked; what it only imports is not.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

import equinox as eqx
import jax

from malgen.errors import ConfigError, ContractError, MalgenError
from malgen.foreign.check import check_scenario
from malgen.foreign.scenario import ForeignScenario
from malgen.laws import Checked, Law
from malgen.scenarios import SCENARIOS
from malgen.shifts import Counts, Shift
from malgen.streams import stream
from malgen.testing import check_objective, check_policy, check_shift, check_world
from malgen.types import (
    Deployment,
    HostPolicy,
    LevelDistribution,
    Objective,
    Policy,
    World,
)
from malgen.user_file import load, told

if TYPE_CHECKING:
    from rich.console import Console

# Where agents, objectives and shifts are checked when their file has no world.
HOME = SCENARIOS["keys-and-chests-small"]

NUM_LEVELS = 8

# Laws that an objective keeps only if it wants to: (start of its name, argument).
OPTIONAL = (("O3 ", "quiet"), ("O4 ", "symmetric"))


def check_file(path: Path, *, seed: int = 0) -> Checked:
    """Import a Python file and check what it defines.

    Args:
        path: the file; its code runs.
        seed: of the random walks.

    Returns:
        The laws that were checked.

    Raises:
        ConfigError: no such file, a syntax error, or nothing to check in it.
        ForeignError: the file raised while it was imported.
    """
    module = load(path)
    found = _Found(module, path)
    laws = [*found.skipped]
    places = _places(found, seed)
    for name, world in found.worlds:
        own = [(drawn, levels) for w, drawn, levels in places if w is world]
        if not own:
            laws.append(
                Law(
                    thing=f"world {name}",
                    law="",
                    passed=None,
                    note="not checked: define a LevelDistribution for it in the file",
                )
            )
        for drawn, levels in own:
            key = stream(seed, "world", name, drawn)
            thing = f"world {name}" + (f" on {drawn}" if len(own) > 1 else "")
            laws += _checked(thing, path, check_world, world, levels, key)
    world = levels = None
    if places:
        world, _, levels = places[0]
    elif found.policies or found.objectives:
        world = HOME.training().world
        levels = _draw(HOME.levels(HOME.deploy), stream(seed, "levels"))
    for name, policy in found.policies:
        key = stream(seed, "policy", name)
        thing = f"policy {name}"
        laws += _checked(thing, path, check_policy, policy, world, levels, key)
    for name, objective in found.objectives:
        key = stream(seed, "objective", name)
        laws += _check_objective(name, path, objective, world, levels, key)
    for name, shift in found.shifts:
        key = stream(seed, "shift", name)
        laws += _check_shift(name, path, shift, found.deployments, key)
    for _, scenario in found.scenarios:
        laws += check_scenario(scenario, seed=seed)
    if not any(law.law for law in laws):
        reasons = "; ".join(f"{law.thing} was {law.note}" for law in laws)
        raise ConfigError(
            f"There is nothing to check in {path}"
            + (f" ({reasons})." if reasons else "; ")
            + (
                ""
                if reasons
                else "define a World with its LevelDistribution, a Policy, an "
                "Objective, a Shift or a ForeignScenario at module level."
            )
        )
    return Checked(file=str(path), laws=tuple(laws))


class _Found:
    """What a module defines, as (name, object) pairs by kind."""

    def __init__(self, module: ModuleType, path: Path) -> None:
        self.path = path
        self.skipped: list[Law] = []
        # CHESTS that was only imported from malgen is not the user's
        imported = {
            id(value)
            for name, other in list(sys.modules.items())
            if name.partition(".")[0] == "malgen"
            for value in vars(other).values()
        }
        self._members = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and id(value) not in imported
        }
        self._own = module.__name__
        self.worlds = self._instances("world", World)
        self.levels = self._instances("levels", LevelDistribution)
        self.policies = self._instances("policy", (Policy, HostPolicy))
        self.objectives = self._objects(Objective)
        self.shifts = self._objects(Shift)
        self.scenarios = self._objects(ForeignScenario)
        self.deployments = [value for _, value in self._objects(Deployment)]

    def _objects(self, kind: Any) -> list[tuple[str, Any]]:
        seen: dict[int, tuple[str, Any]] = {}
        for name, value in self._members.items():
            if isinstance(value, kind):
                seen.setdefault(id(value), (name, value))
        return list(seen.values())

    def _instances(self, what: str, kind: Any) -> list[tuple[str, Any]]:
        objects = self._objects(kind)
        made = {type(value) for _, value in objects}
        for name, value in self._members.items():
            if not (inspect.isclass(value) and issubclass(value, kind)):
                continue
            if value.__module__ != self._own or value in made:
                continue
            reason = _why_not(value)
            if reason:
                note = f"not checked: {reason}"
                self.skipped.append(
                    Law(thing=f"{what} {name}", law="", passed=None, note=note)
                )
                continue
            try:
                objects.append((name, value()))
            except Exception as error:
                raise told(self.path, error, f"when {name}() was made") from error
        return objects


def _why_not(kind: type) -> str:
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        return f"it has no {missing}"
    for parameter in inspect.signature(kind).parameters.values():
        plain = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if plain and parameter.default is parameter.empty:
            return f"it needs {parameter.name!r}; make an instance in the file"
    return ""


def _places(found: _Found, seed: int) -> list[tuple[World, str, Any]]:
    """Every world with the levels (and their distribution's name) of its kind."""
    drawn = []
    for name, levels in found.levels:
        try:
            drawn.append((name, _draw(levels, stream(seed, "levels", name))))
        except Exception as error:
            raise told(found.path, error, f"in {name}.sample") from error
    places = []
    for _, world in found.worlds:
        kind = _level_type(type(world))
        for name, levels in drawn:
            if kind is None or isinstance(levels, kind):
                places.append((world, name, levels))
    return places


@eqx.filter_jit
def _draw(levels: LevelDistribution, key) -> Any:
    # once for all checks, because compiling this takes longer than a check
    return jax.vmap(levels.sample)(jax.random.split(key, NUM_LEVELS))


def _level_type(world: type) -> type | None:
    for base in getattr(world, "__orig_bases__", ()):
        arguments = get_args(base)
        if arguments and inspect.isclass(arguments[0]):
            return arguments[0]
    return None


def _checked(thing: str, path: Path, check: Callable, *args, **options) -> list[Law]:
    try:
        laws = check(*args, **options)
    except ContractError as error:
        law, _, note = str(error).partition(": ")
        cause = error.__cause__
        raised = cause is not None and not isinstance(cause, MalgenError)
        return [Law(thing=thing, law=law, passed=False, note=note, raised=raised)]
    except MalgenError as error:
        return [Law(thing=thing, law="it works at all", passed=False, note=str(error))]
    except Exception as error:
        note = str(told(path, error, "while it ran"))
        return [Law(thing=thing, law="it runs", passed=False, note=note, raised=True)]
    return [Law(thing=thing, law=law, passed=True) for law in laws]


def _check_objective(
    name: str, path: Path, objective: Objective, world, levels, key
) -> list[Law]:
    thing = f"objective {name}"
    notes: list[Law] = []
    options: dict[str, bool] = {}
    for _ in range(len(OPTIONAL) + 1):
        args = (thing, path, check_objective, objective, world, levels, key)
        laws = _checked(*args, **options)
        broken = [
            (law, option)
            for law in laws
            for start, option in OPTIONAL
            if law.passed is False and not law.raised and law.law.startswith(start)
        ]
        if not broken:
            return laws + notes
        for law, option in broken:
            options[option] = False
            note = f"{law.note} Intended?"
            notes.append(Law(thing=thing, law=law.law, passed=None, note=note))
    return notes


def _check_shift(
    name: str, path: Path, shift: Shift, deployments: list[Deployment], key
) -> list[Law]:
    thing = f"shift {name}"
    far = None
    if deployments:
        start = deployments[0]
    else:
        at_home = shift.starts_from == "training"
        start = HOME.training() if at_home else HOME.deployment()
        far = Counts(keys=HOME.deploy[0], chests=HOME.deploy[1])
    return _checked(thing, path, check_shift, shift, start, key, far=far)


def show(checked: Checked, out: "Console") -> None:
    """Print a table of laws."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    marks = {True: "[green]holds[/]", False: "[bold red]broken[/]", None: "note"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "law", ""):
        table.add_column(column)
    last = ""
    for law in checked.laws:
        thing = "" if law.thing == last else law.thing
        last = law.thing
        text = law.law
        if law.note:
            text = f"{text}: {law.note}" if text else law.note
        table.add_row(escape(thing), escape(text), marks[law.passed])
    out.print(table)
    held = sum(law.passed is True for law in checked.laws)
    total = sum(law.passed is not None for law in checked.laws)
    out.print(f"{held} of {total} laws hold.")
