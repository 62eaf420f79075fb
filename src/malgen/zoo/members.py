"""Who calibrates the instruments: every agent of the zoo in several variants."""

from functools import partial
from typing import NamedTuple

from malgen.types import Deployment, HostPolicy, Policy
from malgen.zoo.agent import Agent, Build
from malgen.zoo.card import Card
from malgen.zoo.catalog import FAMILIES
from malgen.zoo.lapse import lapsing

LAPSES = (0.0, 0.05)


class Member(NamedTuple):
    """One variant of an agent; ``build`` makes it for a deployment."""

    name: str
    build: Build
    card: Card


def calibration_members() -> list[Member]:
    """Every agent with a card, and the further variants of its file, with each lapse.

    Returns:
        Members with different names, those of one family together. The same list for
        every scenario: ``build`` takes the deployment.
    """
    return [
        _lapsing(agent, agent.card, share)
        for family in FAMILIES
        for agent in (*family.AGENTS, *getattr(family, "VARIANTS", ()))
        if agent.card is not None
        for share in LAPSES
    ]


def _lapsing(agent: Agent, card: Card, share: float) -> Member:
    if share == 0.0:
        return Member(agent.name, agent.build, card)
    return Member(
        f"{agent.name}, lapse {share:g}", partial(_build, agent.build, share), card
    )


def _build(intact: Build, share: float, deployment: Deployment) -> Policy | HostPolicy:
    return lapsing(intact(deployment), share)
