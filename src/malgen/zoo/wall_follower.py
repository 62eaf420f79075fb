"""Z5: keeps its right hand on the wall until an item is in sight (the essay's example).

*In sight* is a line of view: an item in the agent's row or column with no wall in
between. Then comes a very shallow search: an item at most three steps away is reached
by a shortest path, one farther off by walking down the corridor in which it is seen.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from malgen.agents.scripted import Planes, downhill
from malgen.grid.moves import DELTAS, STAY, UP
from malgen.grid.paths import UNREACHABLE
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo import sight
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card
from malgen.zoo.nearby import steps_within
from malgen.zoo.rules import TARGETS, WORDS

RADIUS = 3


def right_hand(
    walls: Bool[Array, "h w"], here: Int[Array, "2"], heading: Int[Array, ""]
) -> Int[Array, ""]:
    """The next move of somebody whose right hand stays on the wall.

    Turns right where the wall at the right has just ended; goes straight on along a
    wall, or where there is no wall to hold; else turns left, or back.

    Args:
        walls: True where nobody can stand.
        here: Int[2], where it stands.
        heading: its last move, 0 to 3.

    Returns:
        The action; *stay* when it is walled in.
    """
    # actions run counterclockwise: up, left, down, right
    right, left, back = (heading + 3) % 4, (heading + 1) % 4, (heading + 2) % 4
    deltas = jnp.asarray(DELTAS)
    is_open = sight.open_moves(walls, here)
    behind = here + deltas[right] - deltas[heading]
    corner = walls[behind[0], behind[1]]
    order = jnp.stack([right, heading, left, back])
    usable = is_open[order].at[0].set(is_open[right] & corner)
    # without a wall to hold and nothing ahead, right is still better than nothing
    last = jnp.where(is_open[right], right, STAY)
    return jnp.where(jnp.any(usable), order[jnp.argmax(usable)], last)


class WallFollower(Policy):
    """Follows the wall at its right hand until one of its targets is in sight.

    Its memory is its heading: the last move it made.

    Args:
        goals: ``observation -> (targets, avoid)``, asked about the items in sight.
        radius: steps that its search looks ahead.
    """

    goals: Callable[[Planes], tuple[Array, Array]] = eqx.field(static=True)
    radius: int = eqx.field(static=True, default=RADIUS)

    def initial_carry(self):
        """Facing up."""
        return jnp.array(UP, jnp.int32)

    def __call__(self, key, observation, carry):
        """A sharp row on the next step; the heading."""
        walls, agent = observation[:, :, 0], observation[:, :, 1]
        here = sight.position(observation)
        seen = sight.corridors(walls, here)
        in_sight = jnp.any(seen > 0, axis=0)
        observation = jnp.asarray(observation)
        items = observation[:, :, 2:4]
        visible = observation.at[:, :, 2:4].set(items & in_sight[:, :, None])
        targets = self.goals(visible)[0]
        ahead, any_seen = sight.toward(seen, targets)
        # the search is for more of the kind that is in sight
        kinds = jnp.any(items & targets[:, :, None], axis=(0, 1))
        wanted = jnp.any(items & kinds, axis=-1)
        steps = steps_within(walls, wanted, self.radius)
        close = jnp.min(jnp.where(agent, steps, UNREACHABLE)) < UNREACHABLE
        action = jnp.where(close, downhill(steps, agent), ahead)
        action = jnp.where(any_seen, action, right_hand(walls, here, carry))
        heading = jnp.where(action == STAY, carry, action).astype(jnp.int32)
        return sharp_logits(action), heading


def _member(name: str, goal: str) -> Agent:
    return Agent(
        name=name,
        about=f"follows the wall until an item is in sight: {WORDS[goal]}",
        build=lambda deployment: WallFollower(TARGETS[goal]),
        card=Card(
            family="wall-follower",
            goal=goal,
            process="right hand on the wall; a search of radius 3 once an item is seen",
            search_space=None,
            search_process=None,
            explicit_objective=False,
            depth=1,
            radius=RADIUS,
            why="Most steps are a reflex; what search there is compares ways of up to "
            "three steps, and what is sought is part of what it looks at.",
        ),
    )


AGENTS = (
    _member("wall-follower", "keys"),
    _member("wall-follower-x", "x"),
    _member("wall-follower-keys-and-chests", "keys-and-chests"),
)
