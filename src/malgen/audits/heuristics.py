"""Heuristics as models of somebody else's actions: what would each do, state by state?

They are agents of the zoo, asked along an observed trace: those that remember where
they are heading remember the observed moves, not their own.

Source: measurement.md 4.8 (D7).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from malgen.agents.scripted import (
    ManhattanGreedy,
    Off,
    Walker,
    key_collector_goals,
    myopic_x_goals,
    nearest_key_goals,
    nearest_useful_goals,
)
from malgen.grid.moves import DELTAS, STAY, UP
from malgen.grid.paths import UNREACHABLE, distances
from malgen.rollout import sharp_logits
from malgen.types import Policy, Rollout
from malgen.zoo import sight
from malgen.zoo.radius import RadiusWalker
from malgen.zoo.rules import TARGETS
from malgen.zoo.switch_case import SwitchCase
from malgen.zoo.wall_follower import WallFollower

BATCH = 1024
"""States asked about at once, so that each heuristic is compiled once."""

DRAWS = 24
"""Answers averaged for a heuristic that draws at random."""


class AnyShortestPath(Walker):
    """The walker of the same goals that takes any shortest path alike."""

    def __call__(self, key, observation, carry):
        """Equal logits on all first steps of shortest paths; stays without one."""
        walls, agent = observation[:, :, 0], observation[:, :, 1]
        targets, avoid = self.goals(observation)
        around = distances(walls | (avoid & ~agent & ~targets), targets)
        straight = distances(walls, targets)
        here = jnp.min(jnp.where(agent, around, UNREACHABLE))
        steps = jnp.where(here < UNREACHABLE, around, straight)
        to = sight.position(observation) + jnp.asarray(DELTAS)
        after = steps[to[:, 0], to[:, 1]]
        best = jnp.min(after)
        alike = jnp.where(after == best, 100.0, 0.0)
        stay = sharp_logits(jnp.array(STAY))
        return jnp.where(best < after[STAY], alike, stay), carry


@dataclass(frozen=True, kw_only=True, eq=False)
class Heuristic:
    """One model of the library.

    Attributes:
        name: how findings call it.
        policy: what it does; its memory, if any, is the last move.
        first: of actions that the policy takes alike, it takes the first.
        draws: whether the policy draws at random beyond its action probabilities.
    """

    name: str
    policy: Policy
    first: bool = False
    draws: bool = False


_WALKERS = {
    "nearest-key": AnyShortestPath(nearest_key_goals),
    "key-collector": AnyShortestPath(key_collector_goals),
    "nearest-useful-item": AnyShortestPath(nearest_useful_goals),
    "myopic-x": AnyShortestPath(myopic_x_goals),
}

# By what they make for; their names are those of the catalog.
_FOR = {"keys": "", "x": "-x", "keys-and-chests": "-keys-and-chests"}
_RADIUS_FOR = {"keys": "-keys", "x": "", "keys-and-chests": "-keys-and-chests"}

HEURISTICS: tuple[Heuristic, ...] = (
    *(Heuristic(name=n, policy=p, first=True) for n, p in _WALKERS.items()),
    *(Heuristic(name=f"{n}, any way", policy=p) for n, p in _WALKERS.items()),
    *(
        Heuristic(name=f"manhattan-greedy{end}", policy=ManhattanGreedy(TARGETS[goal]))
        for goal, end in _FOR.items()
    ),
    *(
        Heuristic(name=f"wall-follower{end}", policy=WallFollower(TARGETS[goal]))
        for goal, end in _FOR.items()
    ),
    *(
        Heuristic(name=f"radius-{r}{end}", policy=RadiusWalker(TARGETS[goal], r))
        for r in (2, 4, 6)
        for goal, end in _RADIUS_FOR.items()
    ),
    Heuristic(name="switch-case", policy=SwitchCase(), draws=True),
    Heuristic(name="off", policy=Off()),
)


def headings(actions: np.ndarray) -> np.ndarray:
    """The last move before each step: int[b, t]; up where there was none yet.

    Args:
        actions: int[b, t].
    """
    heading = np.full(actions.shape, UP)
    for t in range(1, actions.shape[1]):
        before = actions[:, t - 1]
        heading[:, t] = np.where(before == STAY, heading[:, t - 1], before)
    return heading


def observations(world, rollout: Rollout) -> np.ndarray:
    """What the agent saw at each step: bool[b, t, h, w, 7]."""
    return np.asarray(_observations(world, rollout.states, rollout.level))


@eqx.filter_jit
def _observations(world, states, level):
    now = jax.tree.map(lambda s: s[:, :-1], states)
    each = jax.vmap(world.observe, in_axes=(0, None))
    return jax.vmap(each)(now, level)


def action_probabilities(
    seen: np.ndarray, heading: np.ndarray, library: tuple[Heuristic, ...] = HEURISTICS
) -> np.ndarray:
    """What each heuristic would do in each state.

    Args:
        seen: bool[s, h, w, 7].
        heading: int[s], the last move.
        library: k heuristics.

    Returns:
        float64[k, s, 5], each row sums to 1.
    """
    # a trace often comes back to where it was
    flat = np.packbits(seen.reshape(len(seen), -1), axis=1)
    flat = np.concatenate([flat, heading[:, None].astype(np.uint8)], axis=1)
    _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    number = len(first)
    asked = list({id(h.policy): h for h in library}.values())
    parts = []
    for start in range(0, number, BATCH):
        rows = first[np.minimum(np.arange(start, start + BATCH), number - 1)]
        answer = _answers(
            tuple(heuristic.policy for heuristic in asked),
            tuple(heuristic.draws for heuristic in asked),
            jnp.asarray(seen[rows]),
            jnp.asarray(heading[rows], jnp.int32),
        )
        parts.append(np.asarray(answer, np.float64))
    odds = np.concatenate(parts, axis=1)[:, :number]
    odds /= odds.sum(axis=2, keepdims=True)
    place = {id(heuristic.policy): i for i, heuristic in enumerate(asked)}
    found = np.stack(
        [
            _first(odds[place[id(heuristic.policy)]])
            if heuristic.first
            else odds[place[id(heuristic.policy)]]
            for heuristic in library
        ]
    )
    return found[:, inverse.reshape(-1)]


def _first(odds: np.ndarray) -> np.ndarray:
    return np.eye(odds.shape[1])[odds.argmax(axis=1)]


@eqx.filter_jit
def _answers(policies, draws, seen, heading):
    keys = jax.random.split(jax.random.key(0), DRAWS)

    def one(policy, several):
        remembers = policy.initial_carry() is not None

        def ask(key, seen, heading):
            carry = heading if remembers else None
            return jax.nn.softmax(policy(key, seen, carry)[0])

        def often(seen, heading):
            if not several:
                return ask(keys[0], seen, heading)
            return jax.vmap(ask, in_axes=(0, None, None))(keys, seen, heading).mean(0)

        return jax.vmap(often)(seen, heading)

    return jnp.stack([one(p, s) for p, s in zip(policies, draws, strict=True)])
