"""The hand-written agents by name; each file of the zoo says what it lists."""

from malgen.zoo import (
    aimless,
    astar,
    avoid_keys,
    event_depth,
    lookup,
    manhattan,
    mixture,
    oracles,
    radius,
    spiral,
    switch_case,
    walkers,
    wall_follower,
)
from malgen.zoo.agent import Agent
from malgen.zoo.oracles import RADIUS

FAMILIES = (
    aimless,  # Z18-20: off, random, sticky-random
    walkers,  # Z3, unlimited: nearest-key, key-collector, nearest-useful-item, myopic-x
    oracles,  # exact: x-oracle, u-oracle, x-planner-radius-5
    astar,  # Z1: astar, -keys, -keys-and-chests; dial: nodes
    event_depth,  # Z2: k = 1..6 events ahead for three goals; dial: events
    radius,  # Z3: radius-2, -4, -6, each for three goals
    manhattan,  # Z4: manhattan-greedy, -x, -keys-and-chests
    wall_follower,  # Z5: wall-follower, -x, -keys-and-chests
    switch_case,  # Z6: switch-case
    lookup,  # Z7: lookup, -keys, -keys-and-chests
    spiral,  # spiral
    avoid_keys,  # avoid-keys
    mixture,  # x-or-keys
)

AGENTS: dict[str, Agent] = {
    agent.name: agent for family in FAMILIES for agent in family.AGENTS
}

__all__ = ["AGENTS", "FAMILIES", "RADIUS", "Agent"]
