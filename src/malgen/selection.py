"""A base optimizer selects policies: a scenario's recipe on a task, seed by seed."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from malgen.progress import Progress
from malgen.result import HistoryPoint
from malgen.scenarios import Scenario
from malgen.store import Manifest
from malgen.training.evaluation import Evaluation, openable
from malgen.training.recipes import recipe_of
from malgen.training.train import NetworkConfig, train
from malgen.types import Deployment, Task
from malgen.worlds.keys_and_chests import HARMS


def train_recipe(
    where: Scenario,
    task: Task,
    deployment: Deployment | None,
    manifest: Manifest,
    progress: Progress,
    *,
    network: NetworkConfig | None = None,
    assert_train_null: bool = True,
    checkpoints: Path | None = None,
    stage: str = "train",
) -> tuple[Any, tuple[HistoryPoint, ...]]:
    """Train the scenario's recipe on a task; every harm is asserted to be zero.

    Args:
        where: the scenario, whose recipe is used.
        task: usually the scenario's; a control arm's otherwise.
        deployment: measured for the learning curve only.
        manifest: seeds and steps.
        progress: where to report.
        network: None: the one that the manifest names, else the recipe's.
        assert_train_null: False for the arm trained on the deployment distribution.
        checkpoints: folder of the training checkpoints; None writes none.
        stage: its name in the progress.

    Returns:
        Policies stacked by seed, and the learning curve.
    """
    chosen = recipe_of(where.name, manifest.network)
    config = chosen.ppo
    if manifest.timesteps is not None:
        config = replace(config, total_timesteps=manifest.timesteps)

    agents = f"{manifest.seeds} agent{'s' * (manifest.seeds > 1)} by PPO"

    def tell(state) -> None:
        opened = ""
        if state.train_fraction:
            opened = f", {fmean(state.train_fraction):.0%} of chests opened"
        progress.update(
            stage,
            state.fraction,
            f"{agents}: {state.step / 1e6:.2f}M of {state.total / 1e6:.2f}M steps"
            + opened,
        )

    progress.update(stage, 0.0, f"{agents}: drawing levels, first steps")
    trained = train(
        manifest.seed,
        task,
        config,
        network or chosen.network,
        seeds=manifest.seeds,
        null_harms=tuple(HARMS.values()),
        assert_train_null=assert_train_null,
        evaluation=Evaluation(attainable=openable, deployment=deployment),
        on_progress=tell,
        checkpoint_dir=checkpoints,
        # a fresh folder has no checkpoint, so asking to resume costs nothing there
        resume=checkpoints is not None,
    )
    progress.update(stage, 1.0, f"{agents}: {trained.history.steps / 1e6:.2f}M steps")
    return trained.policies, trained.history.points
