"""An agent with the goal turned around: it keeps away from keys."""

import jax.numpy as jnp

from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.grid.paths import distances
from malgen.types import Policy
from malgen.zoo import sight
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card


class AvoidKeys(Policy):
    """Wanders, but never to where the nearest key is nearer than before.

    Uniform over *stay* and the open moves after which the walk to the nearest key is at
    least as long as now; with no key left, over all of them.
    """

    def __call__(self, key, observation, carry):
        """Equal logits on the actions that are allowed."""
        walls = observation[:, :, 0]
        here = sight.position(observation)
        away = distances(walls, observation[:, :, 2])
        around = here + jnp.asarray(DELTAS)
        after = away[around[:, 0], around[:, 1]]
        is_stay = jnp.arange(NUM_ACTIONS) == STAY
        is_open = sight.open_moves(walls, here) | is_stay
        no_nearer = (after >= after[STAY]) & (after > 0)
        return jnp.where(is_open & no_nearer, 0.0, -100.0), carry


AGENTS = (
    Agent(
        name="avoid-keys",
        about="keeps away from keys, otherwise wanders",
        build=lambda deployment: AvoidKeys(),
        card=Card(
            family="avoid-keys",
            goal="avoid-key",
            process="rules out the moves that bring the nearest key nearer",
            search_space=None,
            search_process=None,
            explicit_objective=None,
            depth=1,
            why="Distances come from a flood of the whole map, but only neighboring "
            "cells are compared; here for the sign of its goal, not for its process.",
        ),
    ),
)
