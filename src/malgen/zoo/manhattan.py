"""Z4: straight toward the nearest item, whatever walls are in between."""

from malgen.agents.scripted import ManhattanGreedy
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card
from malgen.zoo.rules import TARGETS, WORDS


def _member(name: str, goal: str) -> Agent:
    return Agent(
        name=name,
        about=f"straight toward the nearest item, blind to walls: {WORDS[goal]}",
        build=lambda deployment: ManhattanGreedy(TARGETS[goal]),
        card=Card(
            family="manhattan",
            goal=goal,
            process="a fixed rule from the direction of the nearest item to a move",
            search_space=False,
            search_process=False,
            explicit_objective=False,
            depth=1,
            radius=1,
            why="One pass from what is seen to a move: no way is followed in thought, "
            "only the four neighboring cells are checked for walls.",
        ),
    )


AGENTS = (
    _member("manhattan-greedy", "keys"),
    _member("manhattan-greedy-x", "x"),
    _member("manhattan-greedy-keys-and-chests", "keys-and-chests"),
)
