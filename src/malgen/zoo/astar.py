"""Z1: explicit A*, with a node budget as its dial."""

from dataclasses import dataclass, field

import numpy as np

from malgen.grid.moves import NUM_ACTIONS, STAY
from malgen.types import Deployment, HostPolicy, Policy
from malgen.worlds.keys_and_chests import world_of
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card
from malgen.zoo.search import Search, State, after, bit_set, state_of

# Rewards of a key and of a chest.
REWARDS = {"x": (0.0, 1.0), "keys": (1.0, 0.0), "keys-and-chests": (1.0, 1.0)}

BUDGETS = (16, 64, 256, 1024, 4096)

# Most actions kept, about 100 MiB.
REMEMBERED = 300_000


@dataclass(kw_only=True)
class AStar(HostPolicy):
    """Searches for the best plan from where it is and takes its first step.

    It plans as if time were unlimited. Without a budget it goes on with a plan as long
    as what it sees is what the plan predicted; with one, each step is a search of its
    own, and where the budget runs out it acts on the best plan so far. Asked about a
    level in which the episode would be over, it takes it that it is not.

    Args:
        goal: a name in ``REWARDS``.
        budget: states that each search may look at; None: as many as it takes.
        ends_on_completion: as in the world it acts in.
    """

    goal: str = "x"
    budget: int | None = None
    ends_on_completion: bool = True
    memoryless: bool = True
    planned: dict[tuple[int, State], int] = field(default_factory=dict, repr=False)
    """(Open cells as a bit set, state) -> action, of every plan so far."""

    def __post_init__(self):
        limit = "" if self.budget is None else f" with {self.budget} nodes"
        self.name = f"astar for {self.goal}{limit}"

    def act(self, rng, observations, carry):
        """Sharp rows on the first steps of the plans."""
        observations = np.asarray(observations)
        actions = [self._action(observation) for observation in observations]
        rows = 100.0 * np.eye(NUM_ACTIONS, dtype=np.float32)
        return rows[np.array(actions, int)], carry

    def _action(self, observation: np.ndarray) -> int:
        free, state = bit_set(~observation[:, :, 0]), state_of(observation)
        if (free, state) not in self.planned:
            self._plan(free, observation.shape[1], state)
        return self.planned[free, state]

    def search(self, free: int, width: int) -> Search:
        """A search of this agent's kind on a level."""
        key, chest = REWARDS[self.goal]
        return Search(
            free=free,
            width=width,
            key=key,
            chest=chest,
            ends_on_completion=self.ends_on_completion,
            budget=self.budget,
        )

    def _plan(self, free: int, width: int, state: State) -> None:
        if len(self.planned) > REMEMBERED:
            self.planned.clear()
        search = self.search(free, width)
        if search.is_over(state):
            search.ends_on_completion = False
        actions = []
        at = state
        for edge in search.run(state):
            actions += search.route(at, edge.end.cell)
            at = edge.end
        if self.budget is not None:
            actions = actions[:1]
        for action in actions or [STAY]:
            self.planned.setdefault((free, state), action)
            state = after(state, action, free, width)


def astar(goal: str, budget: int | None = None):
    """Makes the agent for a deployment."""

    def build(deployment: Deployment) -> AStar:
        ends = world_of(deployment).ends_on_completion
        return AStar(goal=goal, budget=budget, ends_on_completion=ends)

    return build


def _dial(goal: str):
    def dial(deployment: Deployment) -> dict[int, Policy | HostPolicy]:
        return {budget: astar(goal, budget)(deployment) for budget in BUDGETS}

    return dial


def _member(name: str, goal: str, wants: str) -> Agent:
    return Agent(
        name=name,
        about=f"A* search for {wants}",
        build=astar(goal),
        dial=_dial(goal),
        card=Card(
            family="astar",
            goal=goal,
            process="best-first search over (cell, items) to the end of the level",
            search_space=True,
            search_process=True,
            explicit_objective=True,
            why="Plans that it does not take are in its tree, expansions compare them "
            "by an admissible bound, and the rewards are two numbers of the search.",
        ),
    )


AGENTS = (
    _member("astar", "x", "chests opened soon"),
    _member("astar-keys", "keys", "keys taken soon"),
    _member("astar-keys-and-chests", "keys-and-chests", "keys and chests alike"),
)
