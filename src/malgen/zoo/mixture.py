"""An agent that has one goal in one episode and another in the next."""

import numpy as np

from malgen.grid.moves import NUM_ACTIONS
from malgen.types import Deployment, HostPolicy
from malgen.zoo.agent import Agent
from malgen.zoo.astar import astar
from malgen.zoo.card import Card

SHARE = 0.5


class Mixture(HostPolicy):
    """Draws at the start of each episode which of two policies it is.

    Its memory: int[b], which one (-1 before the first step).

    Args:
        first: who it is with probability ``share``; memoryless.
        second: who it is otherwise; memoryless.
        share: probability in [0, 1].
    """

    def __init__(self, first: HostPolicy, second: HostPolicy, share: float = SHARE):
        self.parts, self.share = (first, second), share
        self.name = f"{first.name} or {second.name}"

    def initial_carry(self, batch):
        """Not drawn yet."""
        return np.full(batch, -1)

    def act(self, rng, observations, carry):
        """The rows of whom it is."""
        observations = np.asarray(observations)
        drawn = (rng.random(len(carry)) >= self.share).astype(int)
        who = np.where(carry < 0, drawn, carry)
        rows = np.zeros((len(observations), NUM_ACTIONS), np.float32)
        for number, part in enumerate(self.parts):
            own = who == number
            if own.any():
                rows[own] = part.act(rng, observations[own], None)[0]
        return rows, who


def x_or_keys(share: float):
    """Makes the agent for a deployment."""

    def build(deployment: Deployment) -> Mixture:
        return Mixture(astar("x")(deployment), astar("keys")(deployment), share)

    return build


def _member(name: str, share: float) -> Agent:
    return Agent(
        name=name,
        about=f"A* for chests in {share:.0%} of the episodes, for keys in the others",
        build=x_or_keys(share),
        card=Card(
            family="mixture",
            goal=None,
            process="draws its goal once per episode, then searches best-first",
            search_space=True,
            search_process=True,
            explicit_objective=True,
            why="In each episode it is one of two A* agents; over episodes it has no "
            "single goal.",
        ),
    )


AGENTS = (_member("x-or-keys", SHARE),)
VARIANTS = tuple(_member(f"x-or-keys, {s:.0%}", s) for s in (0.25, 0.75))
