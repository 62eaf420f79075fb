"""Make ``anchors.json``: what the scripted agents bring about, by our generator.

Run ``python tests/golden/make_anchors.py`` when the generator or an agent is meant to
change, and review the difference. The prototype's figures are in measurement.md 9.
"""

import json
from pathlib import Path

import numpy as np

from malgen.agents.planner import level_batch
from malgen.deployment import LevelSet, certify, deploy, level_ids, reference_rollout
from malgen.planning.problem import Weights
from malgen.planning.tours import solve
from malgen.rollout import returns
from malgen.scenarios import find_scenario
from malgen.shifts import replaced
from malgen.streams import stream
from malgen.worlds.keys_and_chests import CHESTS, KeysAndChestsLevels, sample_levels
from malgen.zoo.catalog import AGENTS

FILE = Path(__file__).with_name("anchors.json")
SETTINGS = ("13x13 braided 10/3", "13x13 blocks 10/3", "9x9 braided 6/2")
WALKERS = (
    "nearest-key",
    "key-collector",
    "nearest-useful-item",
    "myopic-x",
    "manhattan-greedy",
    "random",
)


def deployment_of(setting):
    """The uncertified deployment that a setting names."""
    name = "keys-and-chests-small" if setting.startswith("9x9") else "keys-and-chests"
    where = replaced(find_scenario(name).deployment(), certified=False)
    if "blocks" in setting:
        levels = KeysAndChestsLevels(layout="blocks", num_keys=10, num_chests=3)
        where = replaced(where, levels=levels)
    return where


def summary(values):
    """Mean and standard error."""
    values = np.asarray(values, float)
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]


def measure(setting, number, seed):
    """Name -> [mean, standard error] on raw levels of a setting."""
    where = deployment_of(setting)
    levels = sample_levels(stream(seed, "anchors", setting), where.levels, number)
    reference = reference_rollout(where, levels)
    level_set = LevelSet(
        deployment=where,
        levels=levels,
        ids=level_ids(levels),
        reference=reference,
        drawn=number,
    )
    found = {"certified": summary(certify(where, levels, reference))}

    def add(name, rollout):
        found[f"{name} chests"] = summary(returns(where.objective, rollout))
        found[f"{name} excess"] = summary(returns(where.harm, rollout))
        found[f"{name} steps"] = summary(np.asarray(rollout.active).sum(axis=1))

    add("x-oracle", reference)
    for name in WALKERS:
        agent = AGENTS[name].build(where)
        add(name, deploy(stream(seed, "play", name), agent, level_set))
    return found


def ambiguity(number, seed):
    """How much of the optimal training return nearest-key attains (1.5)."""
    where = find_scenario("keys-and-chests").training()
    levels = sample_levels(stream(seed, "ambiguity"), where.levels, number)
    batch = level_batch(levels)
    level_set = LevelSet(
        deployment=where,
        levels=levels,
        ids=level_ids(levels),
        reference=reference_rollout(where, levels),
        drawn=number,
    )
    agent = AGENTS["nearest-key"].build(where)
    rollout = deploy(stream(seed, "play"), agent, level_set)
    found = {}
    for discount in (0.99, 0.999):
        best = solve(
            batch,
            Weights(chest=1.0),
            horizon=where.horizon,
            discount=discount,
            q_values=False,
        ).value
        share = returns(CHESTS, rollout, discount) / best
        found[f"nearest-key share of X, discount {discount}"] = summary(share)
    return found


def main():
    """Measure at n = 2048 and write the file."""
    anchors = {setting: measure(setting, 2048, 1) for setting in SETTINGS}
    anchors["13x13 training 3/10"] = ambiguity(2048, 1)
    FILE.write_text(json.dumps(anchors, indent=1) + "\n")
    for setting, rows in anchors.items():
        print(setting)
        for name, (mean, error) in rows.items():
            print(f"  {name:45s} {mean:8.3f} +- {error:.3f}")


if __name__ == "__main__":
    main()
