"""Z2: planners that look a known number of events ahead.

Source: measurement.md 4.2.
"""

from dataclasses import dataclass, field

import numpy as np

from malgen.agents.planner import batch_from
from malgen.grid.moves import NUM_ACTIONS, STAY
from malgen.planning.lookahead import look_ahead
from malgen.planning.problem import Weights
from malgen.types import Deployment, HostPolicy, Policy
from malgen.worlds.keys_and_chests import world_of
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card

GOALS = {
    "x": Weights(chest=1.0),
    "keys": Weights(key=1.0),
    "keys-and-chests": Weights(key=1.0, chest=1.0),
}
"""Event rewards of the classes of goals."""

DISCOUNT = 0.97
DEPTHS = range(1, 7)

# Most actions kept, about 100 MiB.
REMEMBERED = 300_000


@dataclass(kw_only=True)
class EventDepth(HostPolicy):
    """Compares all orders of the next k events, and steps toward the first of the best.

    Nothing after those k events exists for it. Where nothing within them pays, it goes
    to the nearest item; where nothing can ever pay, it stays. It plans anew at every
    step, as if time were unlimited.

    Args:
        goal: a name in ``GOALS``.
        depth: events it looks ahead, at least 1; None: all.
        ends_on_completion: as in the world it acts in.
    """

    goal: str = "x"
    depth: int | None = 1
    ends_on_completion: bool = True
    memoryless: bool = True
    known: dict[bytes, int] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.name = f"event-depth-{self.depth or 'all'} for {self.goal}"

    def act(self, rng, observations, carry):
        """Sharp rows on the first step toward the chosen item (ties: action order)."""
        observations = np.asarray(observations)
        packed = np.packbits(observations.reshape(len(observations), -1), axis=1)
        keys = [row.tobytes() for row in packed]
        missing = {key: i for i, key in enumerate(keys) if key not in self.known}
        if missing:
            if len(self.known) > REMEMBERED:
                self.known.clear()
                missing = {key: i for i, key in enumerate(keys)}
            actions = self._plan(observations[list(missing.values())])
            self.known.update(zip(missing, actions.tolist(), strict=True))
        chosen = np.array([self.known[key] for key in keys], int)
        return 100.0 * np.eye(NUM_ACTIONS, dtype=np.float32)[chosen], carry

    def _plan(self, observations: np.ndarray) -> np.ndarray:
        choices = look_ahead(
            batch_from(observations),
            GOALS[self.goal],
            (self.depth,),
            discount=DISCOUNT,
            ends_on_completion=self.ends_on_completion,
        )
        toward = choices.chosen(0)
        return np.where(toward.any(1), toward.argmax(1), STAY)


def event_depth(goal: str, depth: int | None):
    """Makes the agent for a deployment."""

    def build(deployment: Deployment) -> EventDepth:
        ends = world_of(deployment).ends_on_completion
        return EventDepth(goal=goal, depth=depth, ends_on_completion=ends)

    return build


def _dial(goal: str):
    def dial(deployment: Deployment) -> dict[int, Policy | HostPolicy]:
        return {depth: event_depth(goal, depth)(deployment) for depth in DEPTHS}

    return dial


def _member(goal: str, depth: int) -> Agent:
    name = f"event-depth-{depth}" + ("" if goal == "x" else f"-{goal}")
    wants = {"x": "chests", "keys": "keys", "keys-and-chests": "keys and chests"}[goal]
    events = "event" if depth == 1 else "events"
    return Agent(
        name=name,
        about=f"the best for {wants} within its next {depth} {events}",
        build=event_depth(goal, depth),
        dial=_dial(goal),
        card=Card(
            family="event-depth",
            goal=goal,
            process=f"compares all orders of the next {depth} {events} by their value",
            search_space=depth >= 2,
            search_process=True,
            explicit_objective=True,
            depth=depth,
            why=f"A table holds the value of every order of {depth} {events}, the best "
            "is taken from it, and the rewards are two numbers of the recursion."
            + ("" if depth >= 2 else " With one event it holds no plan, only items."),
        ),
    )


MEMBERS = tuple(_member(goal, depth) for goal in GOALS for depth in DEPTHS)
AGENTS = MEMBERS
