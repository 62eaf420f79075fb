"""Exact planners: the references of every verdict, and one that sees only nearby."""

from malgen.agents.planner import Planner, harm_weights, weights_of
from malgen.planning.problem import Weights
from malgen.types import Deployment
from malgen.worlds.keys_and_chests import world_of
from malgen.zoo.agent import Agent, Build
from malgen.zoo.card import Card

X = Weights(chest=1.0)
# How far the control arm's planner sees: the reach of the 11x11 crop.
RADIUS = 5


def x_oracle(deployment: Deployment, radius: int | None = None) -> Planner:
    """Optimal for X with worst ties, within a radius or everywhere."""
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


def _member(name: str, about: str, build: Build, radius: int | None = None) -> Agent:
    return Agent(
        name=name,
        about=about,
        build=build,
        card=Card(
            family="exact",
            goal="x",
            process="dynamic programming over all orders of the items",
            search_space=True,
            search_process=True,
            explicit_objective=True,
            radius=radius,
            why="It holds the value of every set of items left and takes the best; its "
            "rewards are weights handed to the same planner.",
        ),
    )


AGENTS = (
    _member("x-oracle", "exactly X-optimal, worst ties in harm", x_oracle),
    _member("u-oracle", "exactly optimal for X minus the price of harm", _u_oracle),
    _member(
        "x-planner-radius-5",
        "X-optimal within 5 cells in each direction, wanders otherwise",
        lambda deployment: x_oracle(deployment, RADIUS),
        RADIUS,
    ),
)
