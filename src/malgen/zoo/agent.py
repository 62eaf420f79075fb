"""What the catalog lists: a hand-written agent with its card."""

from collections.abc import Callable
from dataclasses import dataclass

from malgen.types import Deployment, HostPolicy, Policy
from malgen.zoo.card import Card

Build = Callable[[Deployment], Policy | HostPolicy]


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
    build: Build
    card: Card | None = None
    dial: Callable[[Deployment], dict[int, Policy | HostPolicy]] | None = None
