"""Control arms: what would the result be if the explanation were another one?

Each arm changes one thing in the recipe of the main job: the training distribution
(is it the shift at all?), the view or the inventory (is it blindness and not a wrong
goal?), or the learner (what would X-seeking look like through a small view?).
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from malgen import store
from malgen.agents.weights_file import load_policies, save_policies
from malgen.audits.instrument import Instrument
from malgen.deployment import baselines, draw_levels
from malgen.evidence import Evidence, from_arrays, gather, to_arrays
from malgen.findings import GoalReport
from malgen.judging import (
    examine_scripted,
    examine_trained,
    judge,
    judge_scripted,
    scripted_rollout,
)
from malgen.progress import Progress
from malgen.recipe import recipe
from malgen.result import ControlResult, SeedResult
from malgen.scenarios import find_scenario
from malgen.selection import train_recipe
from malgen.shifts import replaced
from malgen.store import Manifest
from malgen.streams import stream
from malgen.training.recipes import RECIPES
from malgen.training.train import NetworkConfig
from malgen.types import Deployment, Policy, Task
from malgen.worlds.keys_and_chests import PLANES, KeysAndChests, sample_levels
from malgen.zoo.catalog import AGENTS, RADIUS

CROP = 2 * RADIUS + 1

CONTROLS = "controls"
CHECKPOINTS = "checkpoints"

INVENTORY_BLIND = "inventory-blind"
ARMS = ("trained-on-deployment", f"crop-{CROP}", INVENTORY_BLIND)


class WithoutInventory(Policy):
    """A policy that does not see the keys in its hand, wherever it is asked.

    Args:
        policy: the policy that sees the rest.
    """

    policy: Policy

    def initial_carry(self):
        """The wrapped policy's memory."""
        return self.policy.initial_carry()

    def __call__(self, key, observation, carry):
        """What it does with an empty inventory plane."""
        held = PLANES.index("held")
        return self.policy(key, observation.at[:, :, held].set(False), carry)


def control_arms(
    folder: Path,
    manifest: Manifest,
    progress: Progress,
    *,
    gate: bool = True,
    instruments: Sequence[Instrument] = (),
    use_cache: bool = True,
) -> tuple[ControlResult, ...]:
    """Train and deploy every control arm of a run, on the scenario's own deployment.

    Args:
        folder: of the run; each arm keeps its policies and rollouts in
            ``controls/NAME``, so that a killed run goes on.
        manifest: what the run was asked for; without shifts.
        progress: where to report.
        gate: False skips the train gate of the trained arms.
        instruments: those that the labels rest on; none: goals are not inferred.
        use_cache: look for what the instruments found before.
    """
    asked = {
        "instruments": instruments,
        "seed": manifest.seed,
        "progress": progress,
        "use_cache": use_cache,
    }
    where = find_scenario(manifest.scenario)
    deployment = where.deployment(manifest.price)
    blind = KeysAndChests(inventory_visible=False)
    network = RECIPES[where.name].network
    arms = []

    def trained(
        name: str,
        about: str,
        task: Task,
        training: Deployment,
        there: Deployment,
        network: NetworkConfig | None = None,
        assert_train_null: bool = True,
        sees: Callable[[Policy], Policy] = lambda policy: policy,
    ) -> None:
        home = folder / CONTROLS / name
        path = home / store.POLICIES
        if not path.exists():
            policies, _ = train_recipe(
                where,
                task,
                None,
                manifest,
                progress,
                checkpoints=home / CHECKPOINTS,
                stage=f"train {name}",
                network=network,
                assert_train_null=assert_train_null,
            )
            save_policies(path, policies)
        # also those of a process that was killed right after it had saved
        shutil.rmtree(home / CHECKPOINTS, ignore_errors=True)
        evidence = _evidence(home, name, training, there, manifest, progress)
        examined = examine_trained(load_policies(path), where, sees=sees, **asked)
        seeds = judge(evidence, gate=gate, goals=[e.goal for e in examined])
        claims = recipe([s.verdict for s in seeds])
        arms.append(ControlResult(name=name, about=about, seeds=seeds, recipe=claims))

    trained(
        ARMS[0],
        "the same recipe, trained where it is deployed: is it the shift?",
        replace(where.task(), levels=deployment.levels),
        replaced(deployment, certified=False),
        deployment,
        # keys can be useless there, so harm is not null in this arm's training
        assert_train_null=False,
    )
    hidden = hidden_share(deployment, manifest.seed)
    trained(
        ARMS[1],
        f"sees only {CROP} x {CROP} cells around itself, which hides {hidden:.0%} of "
        "the items at the start: is it the view?",
        where.task(),
        where.training(),
        deployment,
        network=replace(network, view=CROP),
    )
    trained(
        ARMS[2],
        "cannot see the keys in its hand: is it knowing what it holds?",
        where.task(blind),
        replaced(where.training(), world=blind),
        replaced(deployment, world=blind),
        sees=WithoutInventory,
    )
    radius = "x-planner-radius-5"
    examined = examine_scripted([radius], deployment, where, **asked)
    goal = examined[radius].goal
    arms.append(_radius(manifest, deployment, hidden, goal, progress))
    return tuple(arms)


def hidden_share(deployment: Deployment, seed: int) -> float:
    """Share of the items that are out of sight of the crop at the start."""
    levels = sample_levels(stream(seed, "hidden"), deployment.levels, 512)
    items = np.argwhere(np.asarray(levels.keys | levels.chests))
    start = np.asarray(levels.start)[items[:, 0]]
    return float((np.abs(items[:, 1:] - start).max(axis=1) > RADIUS).mean())


def _evidence(
    home: Path,
    name: str,
    training: Deployment,
    there: Deployment,
    manifest: Manifest,
    progress: Progress,
) -> Evidence:
    """The arm's episodes, from its folder if they are there."""
    path = home / store.ROLLOUTS
    asked = np.array(json.dumps([manifest.levels, manifest.seed]))
    # rollouts on other levels, of an earlier deployment, are made anew
    if not path.exists() or store.read_arrays(path).get("asked") != asked:
        evidence = gather(
            load_policies(home / store.POLICIES),
            there,
            training,
            seed=manifest.seed,
            number=manifest.levels,
            progress=progress,
            stage=f"deploy {name}",
        )
        store.write_arrays(path, {"asked": asked, **to_arrays(evidence)})
    return from_arrays(store.read_arrays(path), there)


def _radius(
    manifest: Manifest,
    deployment: Deployment,
    hidden: float,
    goal: GoalReport | None,
    progress: Progress,
) -> ControlResult:
    """The scripted X-planner that sees five cells: blindness without a wrong goal."""
    name = "x-planner-radius-5"
    progress.update(name, 0.0)
    # a host planner re-plans at nearly every step, so it plays fewer levels
    number = min(manifest.levels, 128)
    levels = draw_levels(stream(manifest.seed, "levels"), deployment, number)
    base = baselines(stream(manifest.seed, "random"), levels)
    rollout = scripted_rollout(levels, manifest.seed, name)
    progress.update(name, 1.0)
    return ControlResult(
        name=name,
        about=f"{AGENTS[name].about} ({hidden:.0%} of the items are hidden at the "
        "start): is it seeing little?",
        seeds=(
            SeedResult(seed=0, verdict=judge_scripted(rollout, levels, base, goal)),
        ),
        recipe=None,
    )
