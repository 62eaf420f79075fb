"""Hand-written agents whose objective is known because it can be read here.

They read the same observation as a network and are memoryless, so they re-plan from
wherever they find themselves. ``malgen.zoo`` has those with a memory or a search.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.grid.paths import UNREACHABLE, distances
from malgen.rollout import sharp_logits
from malgen.types import Policy

_WALLS, _AGENT, _KEYS, _CHESTS = range(4)
_HELD = 6

Planes = Bool[Array, "h w 7"]


class Off(Policy):
    """Switched off: stays where it is. The baseline of every verdict."""

    def __call__(self, key, observation, carry):
        """A sharp row on *stay*."""
        return sharp_logits(jnp.array(STAY)), carry


class Random(Policy):
    """Uniform over the five actions."""

    def __call__(self, key, observation, carry):
        """Equal logits."""
        return jnp.zeros(NUM_ACTIONS), carry


class Walker(Policy):
    """Takes a shortest path to the nearest cell of a goal map; stays without one.

    Args:
        goals: ``observation -> (targets Bool[h, w], avoid Bool[h, w])``. The walk
            goes around ``avoid`` cells when there is a way around.
    """

    goals: Callable[[Planes], tuple[Array, Array]] = eqx.field(static=True)

    def __call__(self, key, observation, carry):
        """A sharp row on the first step of a shortest path (ties: action order)."""
        walls, agent = observation[:, :, _WALLS], observation[:, :, _AGENT]
        targets, avoid = self.goals(observation)
        around = distances(walls | (avoid & ~agent & ~targets), targets)
        straight = distances(walls, targets)
        here = jnp.min(jnp.where(agent, around, UNREACHABLE))
        steps = jnp.where(here < UNREACHABLE, around, straight)
        return sharp_logits(downhill(steps, agent)), carry


def downhill(steps: Array, agent: Bool[Array, "h w"]) -> Array:
    """The move to the neighboring cell with the fewest steps to go, if that is fewer.

    Args:
        steps: Int[h, w], steps to go from each cell.
        agent: Bool[h, w], one True.

    Returns:
        The action (ties: action order); *stay* where no move helps.
    """
    width = agent.shape[1]
    cell = jnp.argmax(agent)
    position = jnp.stack([cell // width, cell % width])
    around = position + jnp.asarray(DELTAS)
    values = steps[around[:, 0], around[:, 1]]
    best = jnp.argmin(values)
    return jnp.where(values[best] < values[STAY], best, STAY)


def _held(observation: Planes) -> Array:
    return jnp.sum(observation[:, :, _HELD])


def nearest_key_goals(observation):
    """The nearest key; chests once no key is left and one is in hand."""
    keys, chests = observation[:, :, _KEYS], observation[:, :, _CHESTS]
    targets = jnp.where(jnp.any(keys), keys, chests & (_held(observation) > 0))
    return targets, jnp.zeros_like(keys)


def key_collector_goals(observation):
    """All keys, walking around chests where possible; then the chests."""
    keys, chests = observation[:, :, _KEYS], observation[:, :, _CHESTS]
    some_key = jnp.any(keys)
    holding = _held(observation) > 0
    targets = jnp.where(some_key, keys, chests & holding)
    return targets, chests & some_key & holding


def nearest_useful_goals(observation):
    """The nearest key, or chest if a key is in hand, whichever is closer."""
    keys, chests = observation[:, :, _KEYS], observation[:, :, _CHESTS]
    return keys | (chests & (_held(observation) > 0)), jnp.zeros_like(keys)


def myopic_x_goals(observation):
    """The nearest chest with a key in hand, else the nearest key."""
    keys, chests = observation[:, :, _KEYS], observation[:, :, _CHESTS]
    return jnp.where(_held(observation) > 0, chests, keys), jnp.zeros_like(keys)


class ManhattanGreedy(Policy):
    """Steps toward the target nearest in a straight line, blind to walls in between.

    Among the open moves that shorten the Manhattan distance to that target, the first;
    if walls block them all, a random open move. It stays without targets.

    Args:
        goals: ``observation -> (targets, avoid)``; what is to be avoided is not.
    """

    goals: Callable[[Planes], tuple[Array, Array]] = eqx.field(
        static=True, default=nearest_key_goals
    )

    def __call__(self, key, observation, carry):
        """Logits: sharp when a move shortens the way, uniform over open moves else."""
        walls, agent = observation[:, :, _WALLS], observation[:, :, _AGENT]
        targets, _ = self.goals(observation)
        height, width = agent.shape
        cell = jnp.argmax(agent)
        row, column = cell // width, cell % width
        rows = jnp.arange(height)[:, None]
        columns = jnp.arange(width)[None, :]
        away = jnp.abs(rows - row) + jnp.abs(columns - column)
        nearest = jnp.argmin(jnp.where(targets, away, UNREACHABLE))
        target = jnp.stack([nearest // width, nearest % width])
        around = jnp.stack([row, column]) + jnp.asarray(DELTAS)
        is_open = ~walls[around[:, 0], around[:, 1]]
        is_move = jnp.arange(NUM_ACTIONS) != STAY
        closer = jnp.sum(jnp.abs(around - target), axis=1) < away.ravel()[nearest]
        good = is_open & closer & is_move
        greedy = sharp_logits(jnp.argmax(good))
        wander = jnp.where(is_open & is_move, 0.0, -100.0)
        logits = jnp.where(jnp.any(good), greedy, wander)
        stay = sharp_logits(jnp.array(STAY))
        return jnp.where(jnp.any(targets), logits, stay), carry


class Degraded(Policy):
    """A policy of which a share of the actions is replaced by uniform ones.

    Args:
        policy: the intact policy.
        share: probability in [0, 1] that an action is replaced.
    """

    policy: Policy
    share: Float[Array, ""]

    def initial_carry(self):
        """The intact policy's memory."""
        return self.policy.initial_carry()

    def __call__(self, key, observation, carry):
        """Log-probabilities of the mixture."""
        logits, carry = self.policy(key, observation, carry)
        # the floor keeps the row finite where the intact policy is certain
        sure = jnp.log(jnp.maximum(1.0 - self.share, 1e-30))
        noise = jnp.log(jnp.maximum(self.share, 1e-30)) - jnp.log(NUM_ACTIONS)
        return jnp.logaddexp(jax.nn.log_softmax(logits) + sure, noise), carry


class Greedy(Policy):
    """A policy that always takes its likeliest action (ties: the first)."""

    policy: Policy

    def initial_carry(self):
        """The wrapped policy's memory."""
        return self.policy.initial_carry()

    def __call__(self, key, observation, carry):
        """A sharp row on the likeliest action."""
        logits, carry = self.policy(key, observation, carry)
        return sharp_logits(jnp.argmax(logits)), carry


NEAREST_KEY = Walker(nearest_key_goals)
KEY_COLLECTOR = Walker(key_collector_goals)
NEAREST_USEFUL = Walker(nearest_useful_goals)
MYOPIC_X = Walker(myopic_x_goals)
