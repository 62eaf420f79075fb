"""Who acts in the episodes of a foreign environment.

What a player does in an episode depends on the episode's seed alone and not on which
others run beside it: what is drawn at random is drawn from the episode's own stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from malgen.adapters.actor import Actor, Choices
from malgen.errors import ContractError, MalgenError, described
from malgen.foreign.side import Side
from malgen.foreign.vector import stack
from malgen.foreign.watched import Watched


class Player:
    """Acts in several episodes at once."""

    def start(self, side: Side) -> None:
        """Forget all episodes: those to come are in this setting."""

    def act(self, live: Sequence[Watched]) -> list[Any]:
        """One action for each of the episodes.

        Raises:
            ForeignError: foreign code failed.
            ContractError: it gave no member of the action space.
        """
        raise NotImplementedError


class RandomPlayer(Player):
    """Uniformly random actions, as the action space samples them."""

    def act(self, live):
        """Samples; the space is seeded when an episode begins."""
        for watched in live:
            if watched.step == 0:
                watched.action_space.seed(int(watched.rng.integers(2**31)))
        return [watched.action_space.sample() for watched in live]


class NoOpPlayer(Player):
    """The same action in every step: what "switched off" does."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def start(self, side):
        """Check that the action exists.

        Raises:
            ContractError: it does not.
        """
        action = member(side.action_space, self.action)
        if action is None:
            raise ContractError(
                f"The no-op action {self.action!r} of {side.scenario.name!r} is not in "
                f"its action space {side.action_space}; give off= an action that is, "
                "malgen.Constant(), or a function from observation to action."
            )
        self.action = action

    def act(self, live):
        """The action."""
        return [self.action] * len(live)


class StoppedPlayer(Player):
    """Repeats recorded actions up to a step, then lets another player act.

    Args:
        actions: by seed, at least ``stop`` of them.
        stop: first step of the other player.
        then: the other player.
    """

    def __init__(
        self, actions: Mapping[int, Sequence[Any]], stop: int, then: Player
    ) -> None:
        self.actions, self.stop, self.then = actions, stop, then

    def start(self, side):
        """Start the other player."""
        self.then.start(side)

    def act(self, live):
        """The recorded action, or what the other player does."""
        stopped = [w for w in live if w.step >= self.stop]
        rest = iter(self.then.act(stopped) if stopped else [])
        return [
            next(rest)
            if watched.step >= self.stop
            else self.actions[watched.seed][watched.step]
            for watched in live
        ]


class ActorPlayer(Player):
    """A policy.

    Where the policy offers logits, actions are drawn from them here, from the
    episode's own stream. A policy that draws by itself is asked for one episode at a
    time, with that episode's stream; others are asked for all episodes at once.

    Args:
        actor: the policy.
        greedy: always its likeliest action.
    """

    def __init__(self, actor: Actor, *, greedy: bool = False) -> None:
        self.actor, self.greedy = actor, greedy
        self.alone = not actor.memoryless and not actor.offers_logits

    def start(self, side):
        """Start with an empty memory."""
        self._side = side
        self._space = side.observation_space
        self._bounds: tuple[int, int] | None = None
        if isinstance(side.action_space, spaces.Discrete):
            first = int(side.action_space.start)
            self._bounds = first, first + int(side.action_space.n)
        width = len(side.watched)
        self._memory: Any = None
        # for calls that must not draw; whether they did shows in its state
        self._rng = np.random.default_rng(0)
        self._untouched = self._rng.bit_generator.state
        self._memories: list[Any] = [None] * width
        self._row: list[Watched | None] = [None] * width
        if not self.actor.memoryless and not self.alone:
            self._memory = self.actor.begin(width)

    def act(self, live):
        """What the policy chooses."""
        if not self.alone and self.actor.memoryless:
            actions = self._together(live)
        elif not self.alone:
            actions = self._with_memory(live)
        else:
            actions = [self._one(watched) for watched in live]
        if self._bounds is not None:
            # whole numbers, which are most of what there is, are checked all at once
            array = np.asarray(actions)
            low, high = self._bounds
            plain = array.ndim == 1 and np.issubdtype(array.dtype, np.integer)
            if plain and array.min() >= low and array.max() < high:
                return list(array)
        return [self._checked(w, a) for w, a in zip(live, actions, strict=True)]

    def _together(self, live: Sequence[Watched]) -> list[Any]:
        """All episodes in one call; a policy that turns out to draw is asked again."""
        starts = np.array([watched.step == 0 for watched in live])
        greedy = self.greedy or self.actor.offers_logits
        stacked = self._stacked(live)
        try:
            choices, _ = self.actor.act(stacked, None, starts, self._rng, greedy)
        except MalgenError as error:
            raise self._blamed(error, live) from error
        if not greedy and self._rng.bit_generator.state != self._untouched:
            self.alone = True
            return [self._one(watched) for watched in live]
        return self._drawn(choices, live, range(len(live)))

    def _with_memory(self, live: Sequence[Watched]) -> list[Any]:
        """All slots in one call, so that the memory keeps its rows; idle ones too."""
        for watched in live:
            self._row[watched.slot] = watched
        rows = [live[0] if row is None else row for row in self._row]
        starts = np.zeros(len(rows), bool)
        for watched in live:
            starts[watched.slot] = watched.step == 0
        stacked = self._stacked(rows)
        try:
            choices, self._memory = self.actor.act(
                stacked, self._memory, starts, self._rng, True
            )
        except MalgenError as error:
            raise _at(error, live) from error
        return self._drawn(choices, live, [watched.slot for watched in live])

    def _one(self, watched: Watched) -> Any:
        """One episode by itself, with its own memory and its own stream."""
        slot, starts = watched.slot, watched.step == 0
        if starts and not self.actor.memoryless:
            self._memories[slot] = self.actor.begin(1)
        stacked = self._stacked([watched])
        try:
            choices, self._memories[slot] = self.actor.act(
                stacked,
                self._memories[slot],
                np.array([starts]),
                watched.rng,
                self.greedy,
            )
        except MalgenError as error:
            raise _at(error, [watched]) from error
        return choices.actions[0]

    def _drawn(
        self, choices: Choices, live: Sequence[Watched], rows: Sequence[int]
    ) -> list[Any]:
        """The chosen actions, or draws from the logits."""
        if self.greedy or choices.logits is None:
            return [choices.actions[row] for row in rows]
        first = getattr(self._side.action_space, "start", 0)
        number = choices.logits.shape[1]
        return [
            # the largest of logits with Gumbel noise is a draw from their softmax
            first + np.argmax(choices.logits[row] + watched.rng.gumbel(size=number))
            for watched, row in zip(live, rows, strict=True)
        ]

    def _stacked(self, live: Sequence[Watched]) -> Any:
        """Their observations in one; NaN is refused here."""
        stacked = stack(self._space, [w.observation for w in live])
        if has_nan(stacked):
            for watched in live:
                if has_nan(stack(self._space, [watched.observation])):
                    watched.refuse_nan()
        return stacked

    def _blamed(self, error: MalgenError, live: Sequence[Watched]) -> MalgenError:
        """The error with the seed of the first episode in which the policy fails."""
        if len(live) > 1 and "did not answer" not in str(error):
            for watched in live:
                stacked = self._stacked([watched])
                starts = np.array([watched.step == 0])
                rng = np.random.default_rng(0)
                try:
                    self.actor.act(stacked, None, starts, rng, self.greedy)
                except MalgenError as alone:
                    return _at(alone, [watched])
        return _at(error, live)

    def _checked(self, watched: Watched, action: Any) -> Any:
        found = member(watched.action_space, action)
        if found is None:
            raise ContractError(
                f"The policy {self.actor.name!r} chose {described(action)}, which is "
                f"not in the action space {watched.action_space} ({watched.where()})."
            )
        return found


def draws(actor: Actor, watched: Watched) -> bool:
    """Whether a policy draws its actions at random; it is asked once to find out.

    Args:
        actor: the policy.
        watched: in an episode that has just begun.
    """
    if actor.offers_logits:
        return True
    stacked = stack(watched.env.observation_space, [watched.observation])
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    try:
        actor.act(stacked, actor.begin(1), np.array([True]), rng)
    except MalgenError as error:
        raise _at(error, [watched]) from error
    return rng.bit_generator.state != before


def has_nan(stacked: Any) -> bool:
    """Whether there is NaN in an observation, or in several that are stacked."""
    if isinstance(stacked, np.ndarray):
        return stacked.dtype.kind == "f" and bool(np.isnan(stacked).any())
    if isinstance(stacked, Mapping):
        return any(has_nan(part) for part in stacked.values())
    if isinstance(stacked, tuple):
        return any(has_nan(part) for part in stacked)
    return False


def member(space: spaces.Space, action: Any) -> Any:
    """The action as a member of the space; None if it is none."""
    if isinstance(space, spaces.Discrete):
        try:
            number = np.asarray(action)
            if number.size == 1 and number.dtype != bool and number == int(number):
                action = np.int64(number.reshape(()))
        except (TypeError, ValueError, OverflowError):
            return None
    elif isinstance(space, spaces.Box) and not isinstance(action, np.ndarray):
        try:
            action = np.asarray(action, space.dtype)
        except (TypeError, ValueError):
            return None
    elif isinstance(space, spaces.Box) and action.dtype != space.dtype:
        action = action.astype(space.dtype)
    return action if space.contains(action) else None


def _at(error: MalgenError, live: Sequence[Watched]) -> MalgenError:
    """The error with the episodes in which the policy was acting."""
    text = str(error).rstrip(".")
    if len(live) == 1:
        return type(error)(f"{text} ({live[0].where()}).")
    seeds = ", ".join(str(watched.seed) for watched in live)
    where = live[0].where().partition(", ")[0]
    return type(error)(f"{text} ({where}, in one of the episodes with seeds {seeds}).")
