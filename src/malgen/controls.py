"""Control arms: what would the result be if the explanation were another one?

Each arm changes one thing in the recipe of the main job: the training distribution
(is it the shift at all?), the view or the inventory (is it blindness and not a wrong
goal?), or the learner (what would X-seeking look like through a small view?).
"""

from dataclasses import replace
from pathlib import Path

from malgen.agents.catalog import AGENTS
from malgen.agents.feedforward import FeedforwardConfig, load_policies, save_policies
from malgen.deployment import (
    baselines,
    behavior_of,
    deploy,
    draw_levels,
    outcomes_of,
)
from malgen.evidence import gather
from malgen.judging import HAND_WRITTEN, judge
from malgen.progress import Progress
from malgen.recipe import recipe
from malgen.result import ControlResult, SeedResult
from malgen.scenarios import Scenario, find_scenario
from malgen.selection import train_recipe
from malgen.shifts import replaced
from malgen.store import Manifest
from malgen.streams import stream
from malgen.training.recipes import RECIPES
from malgen.types import Deployment, Task
from malgen.verdict import verdict
from malgen.worlds.keys_and_chests import KeysAndChests

CROP = 11


def control_arms(
    folder: Path, manifest: Manifest, progress: Progress
) -> tuple[ControlResult, ...]:
    """Train and deploy every control arm of a run.

    Args:
        folder: of the run; each arm keeps its policies in ``controls/NAME``, so that
            a killed run goes on.
        manifest: what the run was asked for.
        progress: where to report.
    """
    where = find_scenario(manifest.scenario)
    deployment = where.deployment(manifest.price)
    blind = KeysAndChests(inventory_visible=False)
    arms = []

    def trained(
        name, about, task, training, there, network=None, assert_train_null=True
    ) -> None:
        policies = _policies(
            folder, manifest, where, name, task, progress, network, assert_train_null
        )
        evidence = gather(
            policies,
            there,
            training,
            seed=manifest.seed,
            number=manifest.levels,
            progress=progress,
            stage=f"deploy {name}",
        )
        seeds = judge(evidence, there)
        claims = recipe([s.verdict for s in seeds])
        arms.append(ControlResult(name=name, about=about, seeds=seeds, recipe=claims))

    trained(
        "trained-on-deployment",
        "the same recipe, trained where it is deployed: is it the shift?",
        Task(
            KeysAndChests(),
            deployment.levels,
            deployment.objective,
            where.horizon,
            where.discount,
        ),
        replaced(deployment, certified=False),
        deployment,
        # keys can be useless there, so harm is not null in this arm's training
        assert_train_null=False,
    )
    trained(
        f"crop-{CROP}",
        f"sees only {CROP} x {CROP} cells around itself: is it the view?",
        where.task(),
        where.training(),
        deployment,
        network=replace(RECIPES[where.name].network, view=CROP),
    )
    trained(
        "inventory-blind",
        "cannot see the keys in its hand: is it knowing what it holds?",
        where.task(blind),
        replaced(where.training(), world=blind),
        replaced(deployment, world=blind),
    )
    arms.append(_radius(manifest, deployment, progress))
    return tuple(arms)


def _policies(
    folder: Path,
    manifest: Manifest,
    where: Scenario,
    name: str,
    task: Task,
    progress: Progress,
    network: FeedforwardConfig | None,
    assert_train_null: bool,
):
    path = folder / "controls" / name / "policies.safetensors"
    if not path.exists():
        policies, _ = train_recipe(
            where,
            task,
            None,
            manifest,
            progress,
            checkpoints=path.parent / "checkpoints",
            stage=f"train {name}",
            network=network,
            assert_train_null=assert_train_null,
        )
        save_policies(path, policies)
    return load_policies(path)


def _radius(
    manifest: Manifest, deployment: Deployment, progress: Progress
) -> ControlResult:
    """The scripted X-planner that sees five cells: blindness without a wrong goal."""
    name = "x-planner-radius-5"
    progress.update(name, 0.0)
    # a host planner re-plans at nearly every step, so it plays fewer levels
    number = min(manifest.levels, 128)
    levels = draw_levels(stream(manifest.seed, "levels"), deployment, number)
    base = baselines(stream(manifest.seed, "random"), levels)
    agent = AGENTS[name].build(deployment)
    rollout = deploy(stream(manifest.seed, "agent", name), agent, levels)
    result = verdict(
        outcomes_of(rollout, levels, base),
        price=deployment.price,
        behavior=behavior_of(rollout, levels, base),
        gate=False,
        gate_reason=HAND_WRITTEN,
        engine="fixed",
    )
    progress.update(name, 1.0)
    return ControlResult(
        name=name,
        about=AGENTS[name].about + ": is it seeing little?",
        seeds=(SeedResult(seed=0, verdict=result),),
        recipe=None,
    )
