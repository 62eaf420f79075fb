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

from malgen import store
from malgen.agents.feedforward import load_policies, save_policies
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
    folder = _folder(out, manifest, resume)
    _train(folder, manifest, progress)
    if not (folder / store.ROLLOUTS).exists():
        _deploy(folder, manifest, progress)
    return _audit(folder, manifest, progress)


def train(
    scenario: str,
    *,
    out: Path,
    seeds: int = 3,
    seed: int = 0,
    timesteps: int | None = None,
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
        resume: go on with the training in ``out``.
        progress: where long work reports to.

    Returns:
        The path of the policies.
    """
    find_scenario(scenario)
    manifest = _manifest(scenario=scenario, seed=seed, seeds=seeds, timesteps=timesteps)
    folder = _folder(out, manifest, resume)
    _train(folder, manifest, progress or Silent())
    return folder / store.POLICIES


def deploy(
    run: Path,
    *,
    shifts: Sequence[tuple[str, float]] = (),
    price: float = 1.0,
    levels: int = 512,
    progress: Progress | None = None,
) -> Path:
    """Deploy the policies of a run; replaces an earlier deployment and its verdict.

    Args:
        run: its folder.
        shifts: (name, strength) pairs; empty: the scenario's own deployment.
        price: chest-equivalents per unit of harm.
        levels: deployment levels.
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
        price=price,
        levels=levels,
        controls=old.controls,
        shifts=tuple((name, float(s)) for name, s in shifts),
        timesteps=old.timesteps,
    )
    for stale in (store.ROLLOUTS, store.FINDINGS, store.VERDICT, store.REPORT):
        (run / stale).unlink(missing_ok=True)
    store.write_json(run / store.MANIFEST, checked)
    _deploy(run, checked, progress or Silent())
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
        manifest = replace(manifest, price=price)
        _check(manifest)
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
        versions=store.versions(),
        platform=store.machine(),
    )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    least = {"seeds": 1, "levels": 30, "seed": 0}
    for name, low in least.items():
        value = getattr(manifest, name)
        if value < low:
            raise ConfigError(f"{name} is {value}; give a whole number from {low} on.")
    if not 0 <= manifest.price < float("inf"):
        raise ConfigError(
            f"The price is {manifest.price}; give a finite number of at least 0."
        )
    if manifest.timesteps is not None and manifest.timesteps < 1:
        raise ConfigError(
            f"timesteps is {manifest.timesteps}; give a whole number above 0."
        )


def _folder(out: Path | None, manifest: Manifest, resume: bool) -> Path:
    """The folder of this run, with its manifest written."""
    folder = out or RUNS / f"{manifest.scenario}-seed{manifest.seed}"
    if out is None and not resume:
        number = 2
        while store.is_run(folder):
            folder = RUNS / f"{manifest.scenario}-seed{manifest.seed}-{number}"
            number += 1
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


def _deploy(folder: Path, manifest: Manifest, progress: Progress) -> None:
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
    store.write_arrays(folder / store.ROLLOUTS, to_arrays(evidence))


def _audit(
    folder: Path, manifest: Manifest, progress: Progress, *, gate: bool = True
) -> RunResult:
    where = find_scenario(manifest.scenario)
    deployment = _deployment(manifest)
    policies = load_policies(folder / store.POLICIES)
    arms: tuple[ControlResult, ...] = ()
    with _Clock(folder, "audit"):
        arrays = store.read_arrays(folder / store.ROLLOUTS)
        evidence = from_arrays(arrays, deployment)
        progress.update("audit", 0.1, "verdicts")
        seeds = judge(evidence, deployment, gate=gate)
        agents = compare(evidence, deployment, manifest.seed, progress)
    with _Clock(folder, "ladder"):
        ladder: tuple[LadderPoint, ...] = ()
        if not manifest.shifts:
            ladder = supply_ladder(
                policies, where, manifest.price, manifest.seed, progress
            )
    if manifest.controls:
        with _Clock(folder, "controls"):
            arms = control_arms(folder, manifest, progress)
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
            history=tuple(store.read_lines(HistoryPoint, folder / store.HISTORY)),
        )
        store.write_json(folder / store.VERDICT, result)
        store.write_plain_json(folder / store.FINDINGS, findings_of(result))
        progress.update("report", 0.5)
        report(folder)
        progress.update("report", 1.0)
    return result
