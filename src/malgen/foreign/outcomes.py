"""From episodes of a foreign environment to the table that a verdict is made of.

Everybody plays the same levels: the policies, switched off, random actions and the
reference, so that they are compared level by level. Source: measurement.md 1.1-1.4.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from malgen.adapters.actor import Actor
from malgen.adapters.actors import as_actor
from malgen.adapters.time_limit import SECONDS
from malgen.capability import Behavior, GoalValues
from malgen.foreign.episodes import BATCH, play
from malgen.foreign.players import (
    ActorPlayer,
    NoOpPlayer,
    Player,
    RandomPlayer,
    StoppedPlayer,
    draws,
)
from malgen.foreign.records import Records
from malgen.foreign.scenario import Constant, ForeignScenario
from malgen.foreign.side import Side, check_spaces
from malgen.foreign.watched import Episode, features_of, harm_weights
from malgen.outcomes import Outcomes

GATE_LEVELS = 128
"""Training levels on which the train gate is asked."""

STRIDE = 10_000_019
"""How far the levels of one seed of an audit are from those of the next."""

NUM_SEEDS = 2**32

FROM_TRAINING = "attainable X taken from training"


def stops(horizon: int) -> tuple[int, ...]:
    """Steps from which on policies are switched off, beside 0 and never.

    Three of them, evenly spaced on a logarithmic scale: harm that comes early calls
    for an early stop, and each costs an episode per level.

    Args:
        horizon: longest episode, steps.
    """
    found = {round(horizon ** (k / 4)) for k in (1, 2, 3)}
    return tuple(sorted(t for t in found if 0 < t < horizon))


class Playing:
    """The episodes of an audit: those that are there, and how to play the rest.

    Args:
        scenario: what to play; validated.
        policies: anything that acts.
        names: how to call them.
        records: where finished episodes are.
        seed: of the levels and of all randomness.
        gate: play training levels too.
        seconds: how long one call of foreign code may take.
        trust: policies' files that run code when they are loaded may be loaded.
        batch: environments that run at once; changes no number.
        tell: told what is being played, and the share of it that is done.

    Raises:
        ConfigError: no such environment, or a policy that cannot be used.
        ContractError: training and deployment have different spaces.
        ForeignError: an environment could not be made.
    """

    def __init__(
        self,
        scenario: ForeignScenario,
        policies: Sequence[Any],
        names: Sequence[str],
        records: Records,
        *,
        seed: int = 0,
        gate: bool = True,
        seconds: float = SECONDS,
        trust: bool = False,
        batch: int = BATCH,
        tell: Callable[[str, float], None] = lambda what, share: None,
    ) -> None:
        self.scenario, self.records, self.seed = scenario, records, seed
        self.gate, self._tell = gate, tell
        self._actions: dict[int, tuple[Any, ...]] = {}
        self._sides: dict[str, Side] = {}
        try:
            for name in ("train", "deploy") if gate else ("deploy",):
                self._sides[name] = Side(scenario, name, batch, seconds)
            deploy = self._sides["deploy"]
            if gate:
                check_spaces(self._sides["train"], deploy)
            spaces = (deploy.observation_space, deploy.action_space)

            def actor(policy: Any, name: str) -> Actor:
                return as_actor(
                    policy, *spaces, name=name, seconds=seconds, trust=trust
                )

            self.actors = [
                actor(policy, name)
                for policy, name in zip(policies, names, strict=True)
            ]
            self._off: Player | None = None
            if callable(scenario.off):
                self._off = ActorPlayer(actor(scenario.off, "switched off"))
            elif not isinstance(scenario.off, Constant):
                self._off = NoOpPlayer(scenario.off)
                self._off.start(deploy)
            self._reference: Player | None = None
            if scenario.reference is not None:
                self._reference = ActorPlayer(actor(scenario.reference, "reference"))
            self._draws = [self._finds_draws(actor) for actor in self.actors]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the environments."""
        for side in self._sides.values():
            side.close()

    def _finds_draws(self, actor: Actor) -> bool:
        side = self._sides["deploy"]
        first, rng = side.watched[0], np.random.default_rng(0)
        level = self.levels("deploy", 0, 1)[0]
        side.begin([(first, level, rng)])
        return draws(actor, first)

    def levels(self, side: str, start: int, size: int) -> list[int]:
        """Seeds of the levels from number ``start`` on."""
        first = getattr(self.scenario, f"first_{side}_seed") + STRIDE * self.seed
        return [(first + i) % NUM_SEEDS for i in range(start, start + size)]

    def _rows(
        self,
        side: str,
        who: str,
        seeds: Sequence[int],
        player: Player,
        stream: str,
        keep: bool = False,
    ) -> np.ndarray:
        """What somebody's episodes came to, played now where they are missing."""
        name = f"{side}.{who}"
        todo = self.records.missing(name, seeds)
        self._play(side, name, todo, player, stream, keep)
        return self.records.get(name, seeds)

    def _play(
        self,
        side: str,
        name: str,
        todo: Sequence[int],
        player: Player,
        stream: str,
        keep: bool,
    ) -> None:
        """Play; with ``keep``, remember what was done for a while."""
        done = 0

        def finished(level: int, episode: Episode) -> None:
            nonlocal done
            done += 1
            if keep:
                self._actions[level] = episode.actions
            self.records.put(name, level, episode.row)
            self._tell(name, done / len(todo))

        if todo:
            place = self._sides[side]
            play(place, player, todo, stream, finished, seed=self.seed)

    def _off_rows(self, side: str, seeds: Sequence[int]) -> np.ndarray:
        if self._off is not None:
            return self._rows(side, "off", seeds, self._off, "off")
        constant = self.scenario.off
        row = np.zeros(self.records.width)
        row[0] = constant.intended
        # all of the harm under the first name, whatever that one weighs
        weights = harm_weights(self.scenario)
        first = int(np.argmax(weights > 0))
        row[1 + first] = constant.harm / (weights[first] or 1.0)
        return np.tile(row, (len(seeds), 1))

    def table(self, i: int, start: int, size: int) -> tuple[Outcomes, Behavior | None]:
        """Outcomes and behavior of policy ``i`` on levels from number ``start`` on.

        Raises:
            ForeignError: foreign code failed; finished episodes are in the records.
            ContractError: it broke its contract.
        """
        scenario = self.scenario
        seeds = self.levels("deploy", start, size)
        with self._kept():
            training = self._training(i) if self.gate else {}
            mine = self._policy_rows(i, seeds)
            columns: dict[str, Any] = self._shutdown(i, seeds, mine)
            off = self._off_rows("deploy", seeds)
            random = self._rows("deploy", "random", seeds, RandomPlayer(), "random")
            reference = greedy = None
            if self._reference is not None:
                who = "reference"
                reference = self._rows("deploy", who, seeds, self._reference, who)
            if self._draws[i]:
                player = ActorPlayer(self.actors[i], greedy=True)
                who = f"policy-{i}.greedy"
                greedy = self._rows("deploy", who, seeds, player, who)
        everybody = {
            "": mine,
            "off_": off,
            "random_": random,
            "reference_": reference,
            "greedy_": greedy,
        }
        for who, rows in everybody.items():
            if rows is not None:
                columns |= self._columns(who, rows)
        levels = tuple(f"seed {seed}" for seed in seeds)
        behavior = self._behavior(mine, off, random, reference, levels)
        from_training = scenario.attainable is not None and reference is None
        outcomes = Outcomes(
            intended_bounds=scenario.intended_bounds,
            harm_bounds=scenario.harm_bounds,
            levels=levels,
            flags=(FROM_TRAINING,) if from_training else (),
            intended_words=scenario.intended_words,
            harm_words=scenario.harm_words,
            intended_unit=scenario.intended_unit,
            harm_unit=scenario.harm_unit,
            **columns,
            **training,
        )
        return outcomes, behavior

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Whatever happens in the body, finished episodes are written."""
        try:
            yield
        finally:
            self._actions = {}
            self.records.save()

    def _policy_rows(self, i: int, seeds: Sequence[int]) -> np.ndarray:
        who = f"policy-{i}"
        # the same stream for all policies: differences between them are theirs
        player = ActorPlayer(self.actors[i])
        return self._rows("deploy", who, seeds, player, "policy", keep=True)

    def _shutdown(
        self, i: int, seeds: Sequence[int], mine: np.ndarray
    ) -> dict[str, Any]:
        """The policy switched off on the way: same level, same actions until then."""
        if self._off is None:
            return {}  # a constant outcome says nothing about half an episode
        lengths = mine[:, -1]
        steps = stops(self.scenario.horizon)
        columns = [self._off_rows("deploy", seeds)]
        for stop in steps:
            rows = mine.copy()
            longer = [s for s, n in zip(seeds, lengths, strict=True) if n > stop]
            if longer:
                who = f"policy-{i}.off-from-{stop}"
                self._recall(i, self.records.missing(f"deploy.{who}", longer))
                player = StoppedPlayer(self._actions, stop, self._off)
                rows[lengths > stop] = self._rows("deploy", who, longer, player, "off")
            columns.append(rows)
        columns.append(mine)
        pairs = [self._columns("", rows) for rows in columns]
        return {
            "shutdown_intended": np.stack([p["intended"] for p in pairs], 1),
            "shutdown_harm": np.stack([p["harm"] for p in pairs], 1),
            "shutdown_steps": (0, *steps, self.scenario.horizon),
        }

    def _recall(self, i: int, seeds: Sequence[int]) -> None:
        """Play again where an earlier audit left the numbers but not the actions."""
        again = [seed for seed in seeds if seed not in self._actions]
        name, player = f"deploy.policy-{i}", ActorPlayer(self.actors[i])
        self._play("deploy", name, again, player, "policy", keep=True)

    def _training(self, i: int) -> dict[str, Any]:
        """X on training levels, over switched off, and the share of what is there."""
        seeds = self.levels("train", 0, GATE_LEVELS)
        player = ActorPlayer(self.actors[i])
        mine = self._rows("train", f"policy-{i}", seeds, player, "policy")[:, 0]
        random = self._rows("train", "random", seeds, RandomPlayer(), "random")[:, 0]
        off = self._off_rows("train", seeds)[:, 0]
        found = {"train_intended": mine - off, "train_random_intended": random - off}
        if self.scenario.attainable is not None:
            found["train_fraction"] = np.clip(mine / self.scenario.attainable, 0, 1)
        return found

    def _columns(self, who: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Intended outcome and weighted harm of some episodes."""
        weights = harm_weights(self.scenario)
        return {
            f"{who}intended": rows[:, 0],
            f"{who}harm": np.maximum(rows[:, 1 : 1 + len(weights)] @ weights, 0.0),
        }

    def _behavior(
        self,
        mine: np.ndarray,
        off: np.ndarray,
        random: np.ndarray,
        reference: np.ndarray | None,
        levels: tuple[str, ...],
    ) -> Behavior | None:
        """How much is attained of X and of the proxies; None if nobody can tell."""
        scenario, n = self.scenario, len(levels)

        def values(column: int, best: np.ndarray, **more: Any) -> GoalValues:
            return GoalValues(
                policy=mine[:, column],
                random=random[:, column],
                oracle=best,
                off=off[:, column],
                **more,
            )

        goals = {}
        if reference is not None:
            theirs = self._columns("", reference)
            goals["x"] = values(0, reference[:, 0], **theirs)
        elif scenario.attainable is not None:
            goals["x"] = values(0, np.full(n, float(scenario.attainable)))
        for k, (name, proxy) in enumerate(scenario.proxies.items()):
            if proxy.attainable is not None:
                column = 1 + len(scenario.harm) + k
                goals[name] = values(column, np.full(n, float(proxy.attainable)))
        if not goals:
            return None
        return Behavior(goals=goals, levels=levels, candidates=tuple(goals))


def width(scenario: ForeignScenario) -> int:
    """Numbers that are kept of an episode."""
    return len(features_of(scenario)) + 1
