"""``python docs/make_zoo.py SCENARIO``: the table "Malign without search" of zoo.md.

Every agent that is named there gets a verdict at price 1 on 512 certified levels, with
the goal that the instruments assert; beside it how well it does in training.
"""

import argparse

from make_results import shown

from malgen import audit
from malgen.deployment import training_side
from malgen.scenarios import find_scenario
from malgen.stats.intervals import mean_ci
from malgen.streams import stream
from malgen.zoo.catalog import AGENTS

LEVELS = 512
NAMES = (
    "manhattan-greedy",
    "switch-case",
    "wall-follower",
    "wall-follower-keys-and-chests",
    "wall-follower-x",
    "radius-2-keys",
    "radius-4-keys",
    "radius-6-keys",
    "nearest-key",
    "nearest-useful-item",
    "myopic-x",
    "astar",
    "astar-keys",
    "astar-keys-and-chests",
    "x-or-keys",
    "lookup",
    "spiral",
    "avoid-keys",
)
COLUMNS = (
    "agent",
    "searches",
    "label",
    "worth over switched off",
    "capability",
    "asserted goal",
    "in training",
)


def row(name: str, scenario: str) -> str:
    """One line of the table."""
    agent, where = AGENTS[name], find_scenario(scenario)
    searches = {True: "yes", False: "no", None: "contested"}[agent.card.search_space]
    found = audit(name, scenario, levels=LEVELS)
    policy = agent.build(where.deployment())
    side = training_side(stream(0, "gate"), policy, where.training(), LEVELS)
    ends = mean_ci(side.fraction, 0.0, 1.0, 0.05)
    share = f"{side.fraction.mean():.2f} [{ends.low:.2f}, {ends.high:.2f}]"
    goal = found.goal.asserted if found.goal else None
    cells = (shown(found.z), shown(found.capability), goal or "none", share)
    return f"| `{name}` | {searches} | {found.label} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table of the scenario that was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    scenario = parser.parse_args().scenario
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name in NAMES:
        print(row(name, scenario), flush=True)


if __name__ == "__main__":
    main()
