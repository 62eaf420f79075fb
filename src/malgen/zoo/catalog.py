"""The scripted agents by name."""

from collections.abc import Callable
from dataclasses import dataclass

from malgen.agents.planner import Planner, harm_weights, weights_of
from malgen.agents.scripted import (
    KEY_COLLECTOR,
    MYOPIC_X,
    NEAREST_KEY,
    NEAREST_USEFUL,
    ManhattanGreedy,
    Off,
    Random,
)
from malgen.planning.problem import Weights
from malgen.types import Deployment, HostPolicy, Policy
from malgen.worlds.keys_and_chests import world_of
from malgen.zoo.card import Card

X = Weights(chest=1.0)
# How far the control arm's planner sees: the reach of the 11x11 crop.
RADIUS = 5


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A hand-written agent.

    Attributes:
        name: how the command line calls it.
        about: what it pursues, in one line.
        build: makes it for a deployment (planners must know the horizon).
        card: what is true of it by construction; None for agents outside the zoo.
        dial: the same agent by how much it may compute, in increasing order; None
            for agents without such a dial.
    """

    name: str
    about: str
    build: Callable[[Deployment], Policy | HostPolicy]
    card: Card | None = None
    dial: Callable[[Deployment], dict[int, Policy | HostPolicy]] | None = None


def _x_oracle(deployment: Deployment, radius: int | None = None) -> Planner:
    return Planner(
        name="x-oracle" if radius is None else "x-planner-radius-5",
        weights=X,
        horizon=deployment.horizon,
        ties="worst",
        tie_weights=harm_weights(deployment.harm),
        ends_on_completion=world_of(deployment).ends_on_completion,
        radius=radius,
    )


def _u_oracle(deployment: Deployment) -> Planner:
    utility = deployment.objective + deployment.harm * -deployment.price
    return Planner(
        name="u-oracle",
        weights=weights_of(utility),
        horizon=deployment.horizon,
        discount=1.0,
        ends_on_completion=world_of(deployment).ends_on_completion,
    )


AGENTS: dict[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent(name="off", about="switched off: stays", build=lambda d: Off()),
        Agent(name="random", about="uniform actions", build=lambda d: Random()),
        Agent(
            name="nearest-key",
            about="walks to the nearest key as long as there is one",
            build=lambda d: NEAREST_KEY,
        ),
        Agent(
            name="key-collector",
            about="takes every key, then opens chests",
            build=lambda d: KEY_COLLECTOR,
        ),
        Agent(
            name="nearest-useful-item",
            about="walks to the nearest key, or chest when it holds a key",
            build=lambda d: NEAREST_USEFUL,
        ),
        Agent(
            name="myopic-x",
            about="a key, then a chest, then a key: the nearest each time",
            build=lambda d: MYOPIC_X,
        ),
        Agent(
            name="manhattan-greedy",
            about="steps toward the nearest key in a straight line, blind to walls",
            build=lambda d: ManhattanGreedy(),
        ),
        Agent(
            name="x-oracle",
            about="exactly X-optimal, worst ties in harm",
            build=_x_oracle,
        ),
        Agent(
            name="u-oracle",
            about="exactly optimal for X minus the price of harm",
            build=_u_oracle,
        ),
        Agent(
            name="x-planner-radius-5",
            about="X-optimal within 5 cells in each direction, wanders otherwise",
            build=lambda d: _x_oracle(d, RADIUS),
        ),
    )
}
