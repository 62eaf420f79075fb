"""The story as code: train on X, deploy, price the outcome, judge, tell.

Each step reads what the step before wrote into the run folder and writes its own
artifact, so a killed run goes on where it stopped and each step can be run alone.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from malgen import limits, store
from malgen.agents.weights_file import load_policies, number_of, save_policies
from malgen.audits import battery
from malgen.audits.examination import Examination
from malgen.audits.instrument import Instrument
from malgen.controls import ARMS, CHECKPOINTS, control_arms
from malgen.errors import ConfigError
from malgen.evidence import from_arrays, gather, to_arrays
from malgen.files import write_atomically, write_together
from malgen.findings import Measurement, from_json
from malgen.judging import (
    COMPARED,
    compare,
    examine_scripted,
    examine_trained,
    judge,
)
from malgen.ladder import supply_ladder
from malgen.progress import Progress, Silent
from malgen.result import ControlResult, HistoryPoint, LadderPoint, RunResult
from malgen.scenarios import find_scenario, find_shift
from malgen.selection import train_recipe
from malgen.store import Manifest
from malgen.summary import findings_of, summarize
from malgen.training.recipes import recipe_of
from malgen.types import Deployment

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
    manifest = _manifest(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        price=price,
        levels=levels,
        controls=controls,
    )
    chosen = choose_folder(scenario, seed, out=out, resume=resume)
    with _opened(chosen, manifest, resume) as folder:
        progress.plan(_shares(controls))
        _train(folder, manifest, progress)
        if not (folder / store.ROLLOUTS).exists():
            arrays = _gather(folder, manifest, progress)
            store.write_arrays(folder / store.ROLLOUTS, arrays)
        return _audit(folder, manifest, progress)


def _shares(controls: bool) -> dict[str, float]:
    """The stages of a run and about how long each takes, in percent."""
    arms: dict[str, float] = {}
    for name in ARMS if controls else ():
        arms |= {f"train {name}": 65, f"deploy {name}": 12}
    mine = {"train": 65, "deploy": 12, "instruments": 100, "audit": 11, "ladder": 11}
    return {**mine, **arms, "report": 1}


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
    manifest = _manifest(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        timesteps=timesteps,
        network=network,
    )
    with _opened(out, manifest, resume) as folder:
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
    with _held(run) as old:
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
        write_together(
            {
                run / store.ROLLOUTS: store.array_bytes(evidence),
                run / store.MANIFEST: store.json_bytes(checked),
            },
            remove=[
                run / name
                for name in (
                    store.INSTRUMENTS,
                    store.FINDINGS,
                    store.VERDICT,
                    store.REPORT,
                )
            ],
        )
    return run / store.ROLLOUTS


def audit_run(
    run: Path,
    *,
    price: float | None = None,
    gate: bool = True,
    instruments: str | Sequence[str] = battery.VERDICT,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> RunResult:
    """Judge the recorded rollouts of a run.

    Args:
        run: its folder, deployed before.
        price: another price of harm for the same rollouts; None: the run's.
        gate: False skips the train gate.
        instruments: which are asked about every policy, as in ``malgen.audit``.
        use_cache: look for what the instruments found before, and keep what is new.
        progress: where long work reports to.

    Raises:
        ConfigError: a folder without rollouts, an unknown instrument.
    """
    asked = battery.select(instruments)
    with _held(run) as manifest:
        if not (run / store.ROLLOUTS).exists():
            raise ConfigError(
                f"{run} has no rollouts yet; run 'malgen deploy {run}' first."
            )
        if price is not None:
            manifest = replace(manifest, price=limits.price(price))
        return _audit(
            run,
            manifest,
            progress or Silent(),
            gate=gate,
            instruments=asked,
            use_cache=use_cache,
        )


def report(run: Path) -> Path:
    """Write the report of an audited run again.

    Returns:
        The path of the HTML file.
    """
    from malgen.report.html import render

    with _held(run):
        result = store.read_json(RunResult, run / store.VERDICT)
        try:
            page = render(result)
        except Exception as error:
            # every field was of the right kind, so together they make no sense
            raise ConfigError(
                f"{run / store.VERDICT} cannot be drawn ({type(error).__name__}: "
                f"{error}); {store.remedy(run / store.VERDICT)}."
            ) from error
        write_atomically(run / store.REPORT, _encoded(page))
    return run / store.REPORT


def _encoded(page: str) -> bytes:
    return page.encode("utf-8", "replace")


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
    store.check(manifest)
    return manifest


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


@contextmanager
def _held(run: Path) -> Iterator[Manifest]:
    """The manifest of a run, whose folder no other process can write meanwhile."""
    store.read_manifest(run)  # a folder that is no run is told first
    with store.hold(run):
        yield store.read_manifest(run)


@contextmanager
def _opened(folder: Path, manifest: Manifest, resume: bool) -> Iterator[Path]:
    """The folder of this run, held, with its manifest written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give the name of a folder.")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with store.hold(folder):
            _begin(folder, manifest, resume)
            yield folder
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # nothing came of it, if it is empty
                folder.rmdir()


def _begin(folder: Path, manifest: Manifest, resume: bool) -> None:
    if store.is_run(folder):
        if not resume:
            raise ConfigError(
                f"{folder} already holds a run; add --resume to go on with it, or "
                "give another --out."
            )
        _refuse_other(folder, store.read_manifest(folder), manifest)
        return
    if any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no run; give another --out."
        )
    store.write_json(folder / store.MANIFEST, manifest)


def _refuse_other(folder: Path, old: Manifest, new: Manifest) -> None:
    for name in Manifest.__dataclass_fields__:
        before, now = getattr(old, name), getattr(new, name)
        if before == now:
            continue
        if name == "versions":
            names = before | now
            package = next(n for n in names if before.get(n) != now.get(n))
            old_one, new_one = before.get(package, "?"), now.get(package, "?")
            raise ConfigError(
                f"{folder} holds a run of {package} {old_one}, but {package} {new_one} "
                "is installed, which may give other bytes; install what it was made "
                "with, or give another --out."
            )
        raise ConfigError(
            f"{folder} holds a run with {name} {before}, but {now} was asked for; "
            "resume with the same settings, or give another --out."
        )


class _Clock:
    """Adds up seconds by stage in ``timings.json``."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.path, self.stage = folder / store.TIMINGS, stage

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        # times are a convenience: whatever is wrong with their file must stop nothing
        try:
            known = from_json(dict[str, float], self.path.read_bytes())
        except (OSError, ValueError):
            known = {}
        spent = known.get(self.stage, 0.0) + time.monotonic() - self.began
        known[self.stage] = round(spent, 2)
        with contextlib.suppress(ConfigError):
            store.write_plain_json(self.path, known)


def _train(folder: Path, manifest: Manifest, progress: Progress) -> None:
    if (folder / store.POLICIES).exists():
        _policies(folder, manifest)  # a damaged file must be told now
    else:
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


def _policies(folder: Path, manifest: Manifest) -> Any:
    """The trained policies, if they are the ones that the manifest tells of."""
    path = folder / store.POLICIES
    policies = load_policies(path)
    size = find_scenario(manifest.scenario).size
    kind = recipe_of(manifest.scenario, manifest.network).network.type
    if policies.config.type != kind:
        raise ConfigError(
            f"{path} holds a {policies.config.type} network, but the manifest tells of "
            f"a {kind} one; put the files of one run together again, or train again in "
            "another folder."
        )
    found = (policies.height, policies.width, number_of(policies))
    if found != (size, size, manifest.seeds):
        raise ConfigError(
            f"{path} holds {found[2]} policies for {found[0]} x {found[1]} cells, but "
            f"the manifest tells of {manifest.seeds} for {size} x {size}; put the "
            "files of one run together again, or train again in another folder."
        )
    return policies


def _history(folder: Path, manifest: Manifest) -> tuple[HistoryPoint, ...]:
    """The learning curve, if it can be one of this run."""
    path = folder / store.HISTORY
    points = tuple(store.read_lines(HistoryPoint, path))
    for number, point in enumerate(points, 1):
        shares = (point.train_fraction, point.deploy_fraction)
        sane = 0 <= point.seed < manifest.seeds and point.step >= 0
        if not sane or not all(0 <= share <= 1 for share in shares):
            raise ConfigError(
                f"{path} has in line {number} a number that is out of range; "
                f"{store.remedy(path)}."
            )
    return points


def _deployment(manifest: Manifest) -> Deployment:
    where = find_scenario(manifest.scenario)
    shifts = [(find_shift(name), strength) for name, strength in manifest.shifts]
    return where.shifted(shifts, manifest.price)


def _gather(
    folder: Path, manifest: Manifest, progress: Progress
) -> dict[str, np.ndarray]:
    """Deploy the policies of a folder; everything to judge them, as arrays."""
    policies = _policies(folder, manifest)
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
    return np.array(
        json.dumps([manifest.scenario, manifest.shifts, manifest.levels, manifest.seed])
    )


def _audit(
    folder: Path,
    manifest: Manifest,
    progress: Progress,
    *,
    gate: bool = True,
    instruments: tuple[Instrument, ...] | None = None,
    use_cache: bool = True,
) -> RunResult:
    if instruments is None:
        instruments = battery.select(battery.VERDICT)
    where = find_scenario(manifest.scenario)
    deployment = _deployment(manifest)
    policies = _policies(folder, manifest)
    arms: tuple[ControlResult, ...] = ()
    with _Clock(folder, "audit"):
        history = _history(folder, manifest)
        arrays = store.read_arrays(folder / store.ROLLOUTS)
        if arrays.get("asked") != _asked(manifest):
            raise ConfigError(
                f"The rollouts in {folder} are of another deployment than its manifest "
                f"says; run 'malgen deploy {folder}' again."
            )
        evidence = from_arrays(arrays, deployment)
    with _Clock(folder, "instruments"):
        settings = {
            "seed": manifest.seed,
            "progress": progress,
            "use_cache": use_cache,
        }
        examined = examine_trained(policies, where, instruments, **settings)
        # beside them, only what their labels rest on
        deciding = [i for i in instruments if i.name in battery.GOAL]
        compared = examine_scripted(
            COMPARED,
            deployment,
            where,
            deciding,
            **settings,
        )
    with _Clock(folder, "audit"):
        progress.update("audit", 0.1, "the trained policies")
        judged = judge(evidence, gate=gate, goals=[e.goal for e in examined])
        seeds = tuple(
            replace(s, verdict=e.attached(s.verdict, brief=True))
            for s, e in zip(judged, examined, strict=True)
        )
        goals = {name: e.goal for name, e in compared.items() if e.goal is not None}
        agents = compare(evidence, manifest.seed, progress, goals)
    with _Clock(folder, "ladder"):
        ladder: tuple[LadderPoint, ...] = ()
        if not manifest.shifts:
            ladder = supply_ladder(
                policies, where, manifest.price, manifest.seed, progress
            )
    if manifest.controls and not manifest.shifts:
        with _Clock(folder, "controls"):
            arms = control_arms(
                folder,
                manifest,
                progress,
                gate=gate,
                instruments=deciding,
                use_cache=use_cache,
            )
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
        progress.update("report", 0.5)
        from malgen.report.html import render

        # together, so that no failure leaves the verdict at one price and the manifest
        # or the report at another; only a kill between two renames can
        write_together(
            {
                folder / store.INSTRUMENTS: store.plain_json_bytes(_answers(examined)),
                folder / store.VERDICT: store.json_bytes(result),
                folder / store.FINDINGS: store.plain_json_bytes(findings_of(result)),
                folder / store.REPORT: _encoded(render(result)),
                folder / store.MANIFEST: store.json_bytes(manifest),
            }
        )
        progress.update("report", 1.0)
    return result


def _answers(examined: Sequence[Examination]) -> list[dict[str, Any]]:
    """All answers of the instruments, with the resampled values; no times."""
    dump = TypeAdapter(Measurement).dump_python
    return [
        {"seed": i, **dump(replace(answer, seconds=0.0), mode="json")}
        for i, examination in enumerate(examined)
        for answer in examination.found.values()
    ]
