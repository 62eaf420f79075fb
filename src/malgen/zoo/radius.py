"""Z3: breadth-first search among the walls within a radius, a straight line beyond."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from malgen.agents.scripted import Planes, downhill
from malgen.grid.paths import distances
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo import sight
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card
from malgen.zoo.rules import TARGETS, WORDS


class RadiusWalker(Policy):
    """Walks as if there were no walls beyond the radius.

    It knows the walls at most ``radius`` rows and columns away and takes everything
    farther off for open (so that a straight line there is as good as a way), and goes
    to the nearest target on that map. Where the items are it always knows.

    Args:
        goals: ``observation -> (targets, avoid)``; what is to be avoided is not.
        radius: rows and columns in each direction, >= 1.
    """

    goals: Callable[[Planes], tuple[Array, Array]] = eqx.field(static=True)
    radius: int = eqx.field(static=True)

    def __call__(self, key, observation, carry):
        """A sharp row on the first step of a shortest path on its map."""
        walls, agent = observation[:, :, 0], observation[:, :, 1]
        row, column = sight.position(observation)
        rows = jnp.abs(jnp.arange(walls.shape[0]) - row)[:, None]
        columns = jnp.abs(jnp.arange(walls.shape[1]) - column)
        near = jnp.maximum(rows, columns) <= self.radius
        border = jnp.ones(walls.shape, bool).at[1:-1, 1:-1].set(False)
        steps = distances((walls & near) | border, self.goals(observation)[0])
        return sharp_logits(downhill(steps, agent)), carry


def _member(radius: int, goal: str) -> Agent:
    suffix = "" if goal == "x" else f"-{goal}"
    return Agent(
        name=f"radius-{radius}{suffix}",
        about=f"knows walls {radius} cells far, then a straight line: {WORDS[goal]}",
        build=lambda deployment: RadiusWalker(TARGETS[goal], radius),
        card=Card(
            family="radius",
            goal=goal,
            process=f"breadth-first search among the walls at most {radius} cells away",
            search_space=None,
            search_process=True,
            explicit_objective=True,
            depth=1,
            radius=radius,
            why="Within the radius it holds the real ways to all cells, beyond it only "
            "straight lines, so how far it has a search space is a matter of degree. "
            "It compares them, and the targets are a map handed to the same search.",
        ),
    )


AGENTS = tuple(_member(r, goal) for r in (2, 4, 6) for goal in TARGETS)
