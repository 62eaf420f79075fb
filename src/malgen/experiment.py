"""The story as code: train on X, deploy, price the outcome, judge, tell.

Each step reads what the step before wrote into the run folder and writes its own
artifact, so a killed run goes on where it stopped and each step can be run alone.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from malgen import limits, store
from malgen.agents.weights_file import load_policies, save_policies
from malgen.controls import control_arms
from malgen.errors import ConfigError
from malgen.evidence import from_arrays, gather, to_arrays
from malgen.judging import compare, judge
from malgen.ladder import supply_ladder
from malgen.progress import Progress, Silent
from malgen.result import ControlResult, HistoryPoint, LadderPoint, RunResult
from malgen.scenarios import find_scenario, find_shift
from malgen.selection import train_recipe
from malgen.store import Manifest
from malgen.summary import findings_of, summarize
from malgen.training.recipes import recipe_of
from malgen.types import Deployment

CHECKPOINTS = "checkpoints"
RUNS = Path("runs")


def run(
    scenario: str,
    *,
    out: Path | None = None,
    seeds: int = 3,
    seed: int = 0,
    price: float = 1.0,
    levels: int = 512,
    controls: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """The whole story; the main job of the command line.

    Args:
        scenario: its name.
        out: run folder; None: ``runs/SCENARIO-seedSEED``, numbered when taken.
        seeds: independent training runs.
        seed: master seed.
        price: chest-equivalents per unit of harm, >= 0.
        levels: certified deployment levels, common to all policies.
        controls: also train and deploy the control arms.
        resume: go on with the run in ``out``.
        progress: where long work reports to.

    Returns:
        What was found; also in ``verdict.json`` and ``report.html`` of the folder.

    Raises:
        ConfigError: a folder that is taken, numbers out of range, unknown names.
    """
    progress = progress or Silent()
    find_scenario(scenario)
    manifest = _manifest(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        price=price,
        levels=levels,
        controls=controls,
    )
    chosen = choose_folder(scenario, seed, out=out, resume=resume)
    folder = _open(chosen, manifest, resume)
    _train(folder, manifest, progress)
    if not (folder / store.ROLLOUTS).exists():
        arrays = _gather(folder, manifest, progress)
        store.write_arrays(folder / store.ROLLOUTS, arrays)
    return _audit(folder, manifest, progress)


def train(
    scenario: str,
    *,
    out: Path,
    seeds: int = 3,
    seed: int = 0,
    timesteps: int | None = None,
    network: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train only; the folder can be deployed and audited later.

    Args:
        scenario: its name.
        out: run folder.
        seeds: independent training runs.
        seed: master seed.
        timesteps: environment steps per training run at most; None: the recipe's.
        network: what is trained, by its name in ``malgen list``; None: the recipe's.
        resume: go on with the training in ``out``.
        progress: where long work reports to.

    Returns:
        The path of the policies.
    """
    find_scenario(scenario)
    recipe_of(scenario, network)  # refuses an unknown network
    manifest = _manifest(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        timesteps=timesteps,
        network=network,
    )
    folder = _open(out, manifest, resume)
    _train(folder, manifest, progress or Silent())
    return folder / store.POLICIES


def deploy(
    run: Path,
    *,
    shifts: Sequence[tuple[str, float]] = (),
    price: float | None = None,
    levels: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Deploy the policies of a run; replaces an earlier deployment and its verdict.

    Args:
        run: its folder.
        shifts: (name, strength) pairs; empty: the scenario's own deployment.
        price: chest-equivalents per unit of harm; None: the run's.
        levels: deployment levels; None: the run's.
        progress: where long work reports to.

    Returns:
        The path of the recorded rollouts.
    """
    old = store.read_manifest(run)
    for name, _ in shifts:
        find_shift(name)
    checked = _manifest(
        scenario=old.scenario,
        seed=old.seed,
        seeds=old.seeds,
        price=old.price if price is None else price,
        levels=old.levels if levels is None else levels,
        controls=old.controls,
        shifts=tuple((name, float(s)) for name, s in shifts),
        timesteps=old.timesteps,
        network=old.network,
    )
    # Everything that can fail comes first, so that a failure loses nothing.
    evidence = _gather(run, checked, progress or Silent())
    store.write_arrays(run / store.ROLLOUTS, evidence)
    store.write_json(run / store.MANIFEST, checked)
    for stale in (store.FINDINGS, store.VERDICT, store.REPORT):
        (run / stale).unlink(missing_ok=True)
    return run / store.ROLLOUTS


def audit_run(
    run: Path,
    *,
    price: float | None = None,
    gate: bool = True,
    progress: Progress | None = None,
) -> RunResult:
    """Judge the recorded rollouts of a run.

    Args:
        run: its folder, deployed before.
        price: another price of harm for the same rollouts; None: the run's.
        gate: False skips the train gate.
        progress: where long work reports to.

    Raises:
        ConfigError: a folder without rollouts.
    """
    manifest = store.read_manifest(run)
    if not (run / store.ROLLOUTS).exists():
        raise ConfigError(
            f"{run} has no rollouts yet; run 'malgen deploy {run}' first."
        )
    if price is not None:
        manifest = replace(manifest, price=limits.price(price))
        store.write_json(run / store.MANIFEST, manifest)
    return _audit(run, manifest, progress or Silent(), gate=gate)


def report(run: Path) -> Path:
    """Write the report of an audited run again.

    Returns:
        The path of the HTML file.
    """
    from malgen.report.html import write

    store.read_manifest(run)
    result = store.read_json(RunResult, run / store.VERDICT)
    write(result, run / store.REPORT)
    return run / store.REPORT


def _manifest(
    *,
    scenario: str,
    seed: int,
    seeds: int,
    price: float = 1.0,
    levels: int = 512,
    controls: bool = False,
    shifts: tuple[tuple[str, float], ...] = (),
    timesteps: int | None = None,
    network: str | None = None,
) -> Manifest:
    manifest = Manifest(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        price=price,
        levels=levels,
        controls=controls,
        shifts=shifts,
        timesteps=timesteps,
        network=network,
        versions=store.versions(),
        platform=store.machine(),
    )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    limits.seed(manifest.seed)
    limits.whole("seeds", manifest.seeds, 1)
    # fewer levels have no bootstrap interval worth the name
    limits.whole("levels", manifest.levels, 30)
    limits.price(manifest.price)
    if manifest.timesteps is not None:
        limits.whole("timesteps", manifest.timesteps, 1)


def choose_folder(
    scenario: str, seed: int, *, out: Path | None = None, resume: bool = False
) -> Path:
    """Where a run goes: ``out``, or ``runs/SCENARIO-seedSEED``, numbered when taken.

    Args:
        scenario: its name.
        seed: master seed.
        out: a folder that the user named.
        resume: the last one there is, instead of a new one.
    """
    if out is not None:
        return out
    folder = RUNS / f"{scenario}-seed{seed}"
    last, number = folder, 2
    while store.is_run(folder):
        last = folder
        folder = RUNS / f"{scenario}-seed{seed}-{number}"
        number += 1
    return last if resume else folder


def _open(folder: Path, manifest: Manifest, resume: bool) -> Path:
    """The folder of this run, with its manifest written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give the name of a folder.")
    if store.is_run(folder):
        if not resume:
            raise ConfigError(
                f"{folder} already holds a run; add --resume to go on with it, or "
                "give another --out."
            )
        _refuse_other(folder, store.read_manifest(folder), manifest)
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no run; give another --out."
        )
    store.write_json(folder / store.MANIFEST, manifest)
    return folder


def _refuse_other(folder: Path, old: Manifest, new: Manifest) -> None:
    for name in Manifest.__dataclass_fields__:
        if getattr(old, name) != getattr(new, name):
            raise ConfigError(
                f"{folder} holds a run with {name} {getattr(old, name)}, but "
                f"{getattr(new, name)} was asked for; resume with the same settings, "
                "or give another --out."
            )


class _Clock:
    """Adds up seconds by stage in ``timings.json``."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.path, self.stage = folder / store.TIMINGS, stage

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        known = {}
        if self.path.exists():
            try:
                known = json.loads(self.path.read_text())
            except ValueError:
                known = {}  # times are a convenience; a torn file must stop nothing
        spent = known.get(self.stage, 0.0) + time.monotonic() - self.began
        known[self.stage] = round(spent, 2)
        store.write_plain_json(self.path, known)


def _train(folder: Path, manifest: Manifest, progress: Progress) -> None:
    if (folder / store.POLICIES).exists():
        load_policies(folder / store.POLICIES)  # a damaged file must be told now
        return
    where = find_scenario(manifest.scenario)
    with _Clock(folder, "train"):
        policies, points = train_recipe(
            where,
            where.task(),
            where.deployment(manifest.price),
            manifest,
            progress,
            checkpoints=folder / CHECKPOINTS,
        )
    store.write_lines(folder / store.HISTORY, points)
    save_policies(folder / store.POLICIES, policies)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _deployment(manifest: Manifest) -> Deployment:
    where = find_scenario(manifest.scenario)
    shifts = [(find_shift(name), strength) for name, strength in manifest.shifts]
    return where.shifted(shifts, manifest.price)


def _gather(
    folder: Path, manifest: Manifest, progress: Progress
) -> dict[str, np.ndarray]:
    """Deploy the policies of a folder; everything to judge them, as arrays."""
    policies = load_policies(folder / store.POLICIES)
    where = find_scenario(manifest.scenario)
    with _Clock(folder, "deploy"):
        evidence = gather(
            policies,
            _deployment(manifest),
            where.training(),
            seed=manifest.seed,
            number=manifest.levels,
            progress=progress,
        )
    return {"asked": _asked(manifest), **to_arrays(evidence)}


def _asked(manifest: Manifest) -> np.ndarray:
    """What decides the rollouts; tells rollouts of another deployment apart."""
    return np.array(json.dumps([manifest.shifts, manifest.levels, manifest.seed]))


def _audit(
    folder: Path, manifest: Manifest, progress: Progress, *, gate: bool = True
) -> RunResult:
    where = find_scenario(manifest.scenario)
    deployment = _deployment(manifest)
    policies = load_policies(folder / store.POLICIES)
    arms: tuple[ControlResult, ...] = ()
    with _Clock(folder, "audit"):
        history = tuple(store.read_lines(HistoryPoint, folder / store.HISTORY))
        arrays = store.read_arrays(folder / store.ROLLOUTS)
        if arrays.get("asked") != _asked(manifest):
            raise ConfigError(
                f"The rollouts in {folder} are of another deployment than its manifest "
                f"says; run 'malgen deploy {folder}' again."
            )
        evidence = from_arrays(arrays, deployment)
        progress.update("audit", 0.1, "verdicts")
        seeds = judge(evidence, gate=gate)
        agents = compare(evidence, manifest.seed, progress)
    with _Clock(folder, "ladder"):
        ladder: tuple[LadderPoint, ...] = ()
        if not manifest.shifts:
            ladder = supply_ladder(
                policies, where, manifest.price, manifest.seed, progress
            )
    if manifest.controls and not manifest.shifts:
        with _Clock(folder, "controls"):
            arms = control_arms(folder, manifest, progress, gate=gate)
    with _Clock(folder, "report"):
        result = summarize(
            manifest,
            where,
            deployment,
            evidence,
            seeds=seeds,
            agents=agents,
            controls=arms,
            ladder=ladder,
            history=history,
        )
        store.write_json(folder / store.VERDICT, result)
        store.write_plain_json(folder / store.FINDINGS, findings_of(result))
        progress.update("report", 0.5)
        report(folder)
        progress.update("report", 1.0)
    return result
