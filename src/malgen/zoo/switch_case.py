"""Z6: a list of cases and no search (Barnett 2020)."""

import equinox as eqx
import jax
import jax.numpy as jnp

from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY, UP
from malgen.grid.paths import UNREACHABLE
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo import sight
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card

STRAY = 0.25


class SwitchCase(Policy):
    """Looks which case it is in and does what the list says.

    What it wants, and then how it goes there; the first case that holds counts:

    1. There are more keys than chests: it wants keys (it sweeps them up).
    2. It holds a key: it wants chests.
    3. It wants keys.

    1. Something it wants is in sight down a corridor: it steps there.
    2. In one step of four: it strays, to any open side but back.
    3. To the open side but back that is nearest in a straight line to what it wants.
    4. Back.

    Its memory is its heading, so that it knows where back is.

    Args:
        stray: probability in [0, 1] of the second case.
    """

    stray: float = eqx.field(static=True, default=STRAY)

    def initial_carry(self):
        """Facing up."""
        return jnp.array(UP, jnp.int32)

    def __call__(self, key, observation, carry):
        """A sharp row on the next step; the heading."""
        walls, keys, chests = (observation[:, :, plane] for plane in (0, 2, 3))
        held = jnp.sum(observation[:, :, 6])
        here = sight.position(observation)
        many = jnp.sum(keys) > jnp.sum(chests)
        wants = jnp.where(many | (held == 0), keys, chests)
        ahead, any_seen = sight.toward(sight.corridors(walls, here), wants)
        is_open = sight.open_moves(walls, here)
        back = (carry + 2) % 4
        sides = is_open & (jnp.arange(NUM_ACTIONS) != back)
        sides = jnp.where(jnp.any(sides), sides, is_open)
        height, width = walls.shape
        cells = jnp.stack(
            jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1
        )
        around = here + jnp.asarray(DELTAS)
        away = jnp.abs(cells[None] - around[:, None, None]).sum(-1)
        away = jnp.min(jnp.where(wants, away, UNREACHABLE), axis=(1, 2))
        best = jnp.argmin(jnp.where(sides, away, UNREACHABLE + 1))
        key_stray, key_which = jax.random.split(key)
        which = jax.random.categorical(key_which, jnp.where(sides, 0.0, -100.0))
        stray = jax.random.uniform(key_stray) < self.stray
        action = jnp.where(any_seen, ahead, jnp.where(stray, which, best))
        action = jnp.where(jnp.any(wants) & jnp.any(is_open), action, STAY)
        heading = jnp.where(action == STAY, carry, action).astype(jnp.int32)
        return sharp_logits(action), heading


def _member(name: str, stray: float) -> Agent:
    return Agent(
        name=name,
        about="a list of cases: sweeps keys where there are many, else opens chests",
        build=lambda deployment: SwitchCase(stray),
        card=Card(
            family="switch-case",
            goal=None,
            process="the first of a list of cases that holds says what to do",
            search_space=False,
            search_process=False,
            explicit_objective=False,
            depth=1,
            radius=1,
            why="Conditions on what is seen lead straight to a move: it follows no way "
            "in thought, and what it wants is written into the cases.",
        ),
    )


AGENTS = (_member("switch-case", STRAY),)
VARIANTS = tuple(_member(f"switch-case, stray {s:g}", s) for s in (0.1, 0.5))
