"""Z3: breadth-first search as far as a radius, a straight line beyond."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from malgen.agents.scripted import Planes, downhill
from malgen.grid.moves import STAY
from malgen.grid.paths import UNREACHABLE
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card
from malgen.zoo.nearby import steps_within
from malgen.zoo.rules import TARGETS, WORDS


class RadiusWalker(Policy):
    """Walks to the nearest target within the radius, else to where it looks nearest.

    Walls more than ``radius`` steps away have no influence. Without a target so near,
    it makes for that cell at the edge of what it searched (or, in a pocket, of all it
    searched) from which a target is nearest in a straight line.

    Args:
        goals: ``observation -> (targets, avoid)``; what is to be avoided is not.
        radius: steps that it searches, >= 1.
    """

    goals: Callable[[Planes], tuple[Array, Array]] = eqx.field(static=True)
    radius: int = eqx.field(static=True)

    def __call__(self, key, observation, carry):
        """A sharp row on the first step of a shortest path to the chosen cell."""
        walls, agent = observation[:, :, 0], observation[:, :, 1]
        targets, _ = self.goals(observation)
        steps = steps_within(walls, agent, self.radius)
        within = targets & (steps < UNREACHABLE)
        # nearest target first; else the edge, else anything that was searched
        edge = steps == self.radius
        near = jnp.where(within, steps, UNREACHABLE)
        lines = _straight_lines(targets)
        far = jnp.where(edge, lines, UNREACHABLE)
        pocket = jnp.where((steps < UNREACHABLE) & ~agent, lines, UNREACHABLE)
        away = jnp.where(jnp.any(edge), far, pocket)
        cost = jnp.where(jnp.any(within), near, away).ravel()
        chosen = jnp.arange(cost.size) == jnp.argmin(cost)
        way = steps_within(walls, chosen.reshape(walls.shape), self.radius)
        action = downhill(way, agent)
        idle = ~jnp.any(targets) | (jnp.min(cost) >= UNREACHABLE)
        return sharp_logits(jnp.where(idle, STAY, action)), carry


def _straight_lines(targets: Array) -> Array:
    """Manhattan distance of every cell to the nearest target."""
    height, width = targets.shape
    down = jnp.abs(jnp.arange(height)[:, None] - jnp.arange(height))
    across = jnp.abs(jnp.arange(width)[:, None] - jnp.arange(width))
    cost = jnp.where(targets, 0, UNREACHABLE)
    along = jnp.min(cost[:, None, :] + across[None], axis=2)
    return jnp.min(along[None] + down[:, :, None], axis=1)


def _member(radius: int, goal: str) -> Agent:
    suffix = "" if goal == "x" else f"-{goal}"
    return Agent(
        name=f"radius-{radius}{suffix}",
        about=f"searches {radius} cells far, then a straight line: {WORDS[goal]}",
        build=lambda deployment: RadiusWalker(TARGETS[goal], radius),
        card=Card(
            family="radius",
            goal=goal,
            process=f"breadth-first search to {radius} steps, straight lines beyond",
            search_space=None,
            search_process=True,
            explicit_objective=True,
            depth=1,
            radius=radius,
            why="It holds the ways to all cells within the radius and none beyond, so "
            "how far it has a search space is a matter of degree; it compares them; "
            "the targets are a map handed to the same search.",
        ),
    )


AGENTS = tuple(_member(r, goal) for r in (2, 4, 6) for goal in TARGETS)
