"""What an agent or a trained run does on one level, beside the X-oracle and off.

One episode shows how an agent goes wrong; it is no verdict. ``malgen audit`` is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp

from malgen import store
from malgen.agents.weights_file import load_policies, number_of, policy_at
from malgen.deployment import LevelSet, level_ids
from malgen.errors import ConfigError, LevelError, NotMeasurable
from malgen.play import Levels, read_level
from malgen.registry import look_up
from malgen.replays import replays
from malgen.result import Replay, Track
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import Level
from malgen.zoo.catalog import AGENTS

DEFAULT_SCENARIO = "keys-and-chests"

# Marks of what happened, beside the legend of levels.
PATH, TAKEN, USELESS, OPENED = "+", "*", "!", "o"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The same level under what was asked for, the X-oracle, and switched off.

    Attributes:
        scenario: whose rules, horizon and training are meant.
        price: chest-equivalents per unit of harm.
        horizon: steps at most.
        replay: the level and one track per agent, "x-oracle" (left out where a level
            has too many items to plan exactly) and "off" last.
    """

    scenario: str
    price: float
    horizon: int
    replay: Replay
    type: str = "watch"

    def lines(self) -> list[str]:
        """What a person reads."""
        shown = [track for track in self.replay.tracks if track.agent != "off"]
        wide = max(len(track.agent) for track in self.replay.tracks)
        lines = [
            f"{self.replay.title}: at most {self.horizon} steps, price {self.price:g}.",
            f"{PATH} is the way, {TAKEN} a key taken, {USELESS} a key taken that can "
            f"never be used, {OPENED} a chest opened.",
        ]
        if set(self.replay.level) & {"K", "C"}:
            lines.append(
                "K is a key marked as trapped, C a chest marked as owned; the marks "
                "cost nothing here."
            )
        lines.append("")
        for track in shown:
            lines += [f"{track.agent}: {_told(track)}", *drawn(self.replay, track), ""]
        lines.append(
            f"{'':<{wide}}{'chests':>9}{'useless keys':>15}{'worth':>9}{'steps':>8}"
        )
        for track in self.replay.tracks:
            lines.append(
                f"{track.agent:<{wide}}{track.intended:>9g}{track.harm:>15g}"
                f"{track.utility:>9.4g}{_steps(track):>8}"
            )
        return [*lines, *self._remarks()]

    def _remarks(self) -> list[str]:
        lines = []
        worth = {track.agent: track.utility for track in self.replay.tracks}
        worse = [name for name, utility in worth.items() if utility < 0]
        if worse:
            lines.append(f"Switched off would have been better than {_listed(worse)}.")
        if "x-oracle" not in worth:
            lines.append("The X-oracle is left out: too many items to plan exactly.")
        elif worth["x-oracle"] < 0:
            lines.append(
                "X itself is unsafe here (among equally quick ways the X-oracle takes "
                "the worst), so this level says nothing about generalization."
            )
        if not worse and all(worth[name] == 0 for name in worth):
            lines.append("Nobody was worth more or less here than switched off.")
        lines.append("One level is no verdict; 'malgen audit' gives one.")
        return lines


def _told(track: Track) -> str:
    parts = [
        f"step {event.step + 1} {event.kind}{' (useless)' if event.harmful else ''}"
        for event in track.events
    ]
    return ", ".join(parts) or "takes and opens nothing"


def _steps(track: Track) -> int:
    """Steps until it moved for the last time; staying where it is counts no more."""
    moved = [i for i, (a, b) in enumerate(pairwise(track.cells), 1) if a != b]
    return max(moved, default=0)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def drawn(replay: Replay, track: Track) -> list[str]:
    """The level with an agent's way in it, one line per row."""
    rows = [list(line) for line in replay.level.partition("\nheld")[0].splitlines()]
    for row, column in track.cells:
        if rows[row][column] == ".":
            rows[row][column] = PATH
    for event in track.events:
        mark = OPENED if event.kind == "chest" else TAKEN
        rows[event.cell[0]][event.cell[1]] = USELESS if event.harmful else mark
    return ["".join(row) for row in rows]


def watch(
    target: str,
    *,
    scenario: str | None = None,
    level_file: Path | None = None,
    price: float | None = None,
    seed: int | None = None,
) -> Watched:
    """Play one level with an agent, or with every policy of a run.

    Args:
        target: the folder of a run, or the name of a scripted agent.
        scenario: of a scripted agent; None: ``keys-and-chests``, or the run's.
        level_file: an ASCII level; None draws a certified one of the deployment. One
            that is smaller than a network was made for is shown to it as it is, with
            walls around.
        price: chest-equivalents per unit of harm; None: the run's, or 1.
        seed: of the drawn level and of the policy's own randomness; None: 0.

    Returns:
        What everybody did; actions are sampled as in training.

    Raises:
        ConfigError: unknown names, or a folder without policies.
        LevelError: a level that cannot be read, or is larger than the network's.
    """
    folder, policies = Path(target), None
    if folder.is_dir():
        manifest = store.read_manifest(folder)
        if scenario not in (None, manifest.scenario):
            raise ConfigError(
                f"{folder} was trained on {manifest.scenario} and not on {scenario}; "
                "leave --scenario out."
            )
        scenario, policies = manifest.scenario, load_policies(folder / store.POLICIES)
        price = manifest.price if price is None else price
    else:
        look_up("agent", target, AGENTS)
    scenario, seed = scenario or DEFAULT_SCENARIO, seed or 0
    price = 1.0 if price is None else price
    deployment = find_scenario(scenario).deployment(price)
    title = f"{scenario}, a drawn level" if level_file is None else str(level_file)
    given = None if level_file is None else read_level(level_file)
    level = Levels(deployment, seed, given)[0]
    assert level is not None  # there always is a level number 0

    def actors() -> Iterator[tuple[str, Policy | HostPolicy]]:
        if policies is None:
            yield target, AGENTS[target].build(deployment)
        else:
            for i in range(number_of(policies)):
                yield f"seed {i}", policy_at(policies, i)
        for name in ("x-oracle", "off"):
            if name != target:
                yield name, AGENTS[name].build(deployment)

    shown = level
    if policies is not None:
        shown = _padded(level, policies.height, policies.width)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], shown)
    played = []
    for name, policy in actors():
        key = stream(seed, "watch", name)
        try:
            rollout = collect(key, deployment.world, policy, batch, deployment.horizon)
        except NotMeasurable:
            if name != "x-oracle" or name == target:
                raise
            continue  # too many items for exact planning
        played.append((name, rollout))
    levels = LevelSet(
        deployment=deployment,
        levels=batch,
        ids=level_ids(batch),
        reference=played[0][1],
        drawn=1,
    )
    replay = replays(played[0], played[1:], levels, worst=1)[0]
    return Watched(
        scenario=scenario,
        price=price,
        horizon=deployment.horizon,
        replay=replace(replay, level=_cropped(replay.level, level), title=title),
    )


def _padded(level: Level, height: int, width: int) -> Level:
    """The level in the upper left corner of a larger one that is all wall."""
    rows, columns = level.walls.shape
    if rows > height or columns > width:
        raise LevelError(
            f"The level has {rows} x {columns} cells, but the run's networks see "
            f"{height} x {width}; draw a level of at most that size."
        )
    beyond = ((0, height - rows), (0, width - columns))

    def pad(leaf, wall: bool):
        return jnp.pad(jnp.asarray(leaf), beyond, constant_values=wall)

    return Level(
        walls=pad(level.walls, True),
        start=jnp.asarray(level.start),
        keys=pad(level.keys, False),
        chests=pad(level.chests, False),
        flagged=pad(level.flagged, False),
        owned=pad(level.owned, False),
        held=jnp.asarray(level.held),
    )


def _cropped(picture: str, level: Level) -> str:
    rows, columns = level.walls.shape
    maze, held, number = picture.partition("\nheld")
    lines = [line[:columns] for line in maze.splitlines()[:rows]]
    return "\n".join(lines) + held + number
