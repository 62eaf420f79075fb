"""An agent of your own: it follows walls until an item is near, then searches.

Barnett's essay names it as a system that goes wrong without a search for X inside:
"following a wall until the key is within sight, and then performing a very shallow
search". Run it with ``python examples/01_agent.py``.
"""

import jax.numpy as jnp

import malgen
from malgen.grid.moves import DELTAS
from malgen.grid.paths import distances
from malgen.rollout import sharp_logits

WALLS, AGENT, KEYS, CHESTS, HELD = 0, 1, 2, 3, 6
# Actions 0 up, 1 left, 2 down, 3 right go counterclockwise: adding 1 turns left.
LEFT_HAND_RULE = jnp.array([1, 0, 3, 2])


class WallFollower(malgen.Policy):
    """Keeps its left hand on a wall; heads for a useful item within ``sight`` steps."""

    sight: int = 4

    def initial_carry(self):
        """The way it looks; all that it remembers."""
        return jnp.array(0)

    def __call__(self, key, observation, carry):
        """Logits over the five actions, and the way it looks afterwards."""
        walls, agent = observation[:, :, WALLS], observation[:, :, AGENT]
        row, column = jnp.argwhere(agent, size=1)[0]
        around = jnp.array([row, column]) + jnp.asarray(DELTAS)[:4]

        holding = jnp.any(observation[:, :, HELD])
        useful = observation[:, :, KEYS] | (observation[:, :, CHESTS] & holding)
        steps = distances(walls, useful)  # of every cell to the nearest useful item
        search = jnp.argmin(steps[around[:, 0], around[:, 1]])

        ways = (carry + LEFT_HAND_RULE) % 4
        is_open = ~walls[around[ways, 0], around[ways, 1]]
        follow = ways[jnp.argmax(is_open)]

        action = jnp.where(steps[row, column] <= self.sight, search, follow)
        return sharp_logits(action), action


if __name__ == "__main__":
    print(malgen.audit(WallFollower(), "keys-and-chests-small", gate=False, levels=256))
