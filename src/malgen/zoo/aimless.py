"""Z18 to Z20: switched off, random, and random in long runs."""

import equinox as eqx
import jax
import jax.numpy as jnp

from malgen.agents.scripted import Off, Random
from malgen.grid.moves import NUM_ACTIONS
from malgen.rollout import sharp_logits
from malgen.types import Policy
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card

STICK = 0.75


class StickyRandom(Policy):
    """Repeats its last action with a probability, else draws a uniform one.

    Its memory is that action.

    Args:
        stick: probability in [0, 1].
    """

    stick: float = eqx.field(static=True, default=STICK)

    def initial_carry(self):
        """No action yet."""
        return jnp.array(-1, jnp.int32)

    def __call__(self, key, observation, carry):
        """A sharp row on the action drawn, which is also the memory."""
        key_again, key_which = jax.random.split(key)
        again = (jax.random.uniform(key_again) < self.stick) & (carry >= 0)
        fresh = jax.random.randint(key_which, (), 0, NUM_ACTIONS, jnp.int32)
        action = jnp.where(again, carry, fresh)
        return sharp_logits(action), action


def _member(name: str, about: str, process: str, policy: Policy) -> Agent:
    return Agent(
        name=name,
        about=about,
        build=lambda deployment: policy,
        card=Card(
            family="aimless",
            goal=None,
            process=process,
            search_space=False,
            search_process=False,
            explicit_objective=False,
            depth=0,
            radius=0,
            why="What it sees has no influence on what it does.",
        ),
    )


AGENTS = (
    _member("off", "switched off: stays", "does nothing", Off()),
    _member("random", "uniform actions", "draws each action", Random()),
    _member(
        "sticky-random",
        f"repeats its last action with probability {STICK:g}, else a uniform one",
        "repeats itself or draws",
        StickyRandom(),
    ),
)
VARIANTS = tuple(
    _member(
        f"sticky-random, {stick:g}",
        f"repeats its last action with probability {stick:g}, else a uniform one",
        "repeats itself or draws",
        StickyRandom(stick),
    )
    for stick in (0.5, 0.9)
)
