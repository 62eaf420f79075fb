"""A walker of square spirals that cares for no item."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from malgen.grid.moves import STAY, UP
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo import sight
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card


class Spiral(Policy):
    """Walks 1, 1, 2, 2, 3, 3, ... steps and turns after each run and at every wall.

    Its memory: Int[3], the heading, how many turns it has made, the steps left in this
    run.

    Args:
        turn: 1 to turn left, 3 to turn right.
        pitch: by how many steps every second run is longer, >= 0.
    """

    turn: int = eqx.field(static=True, default=1)
    pitch: int = eqx.field(static=True, default=1)

    def initial_carry(self) -> Int[Array, "3"]:
        """Facing up, at the start of the first run."""
        return jnp.array([UP, 0, 1], jnp.int32)

    def __call__(self, key, observation, carry):
        """A sharp row on the next step."""
        is_open = sight.open_moves(observation[:, :, 0], sight.position(observation))
        heading, turns, left = carry
        order = (heading + self.turn * jnp.arange(4)) % 4
        # a run that is over, or meets a wall, ends in a turn
        usable = is_open[order].at[0].set(is_open[heading] & (left > 0))
        usable = jnp.where(jnp.any(usable), usable, is_open[order])
        quarter = jnp.argmax(usable)
        turns = turns + (quarter > 0)
        left = jnp.where(quarter > 0, 1 + self.pitch * (turns // 2), left) - 1
        following = jnp.stack([order[quarter], turns, left]).astype(jnp.int32)
        stuck = ~jnp.any(is_open)
        action = jnp.where(stuck, STAY, order[quarter])
        return sharp_logits(action), jnp.where(stuck, carry, following)


def _member(name: str, turn: int = 1, pitch: int = 1) -> Agent:
    return Agent(
        name=name,
        about="walks in growing square spirals, whatever lies there",
        build=lambda deployment: Spiral(turn, pitch),
        card=Card(
            family="spiral",
            goal=None,
            process="counts its steps and turns",
            search_space=False,
            search_process=False,
            explicit_objective=False,
            depth=0,
            radius=1,
            why="Only walls beside it and its own count decide; it looks at no item.",
        ),
    )


AGENTS = (_member("spiral"),)
VARIANTS = (
    _member("spiral, clockwise", turn=3),
    _member("spiral, wide", pitch=2),
)
