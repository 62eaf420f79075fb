"""The networks of a run as ONNX files that anybody can run, each one tried before.

A file takes what the Gymnasium environment shows with ``view=None`` and is kept only if
its answers are those of the network, on observations that the run recorded.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from malgen import __version__, store
from malgen.adapters.onnx_file import OnnxFile
from malgen.adapters.registration import KEYS_AND_CHESTS
from malgen.agents import onnx_graph
from malgen.agents.weights_file import load_policies, number_of, policy_at
from malgen.controls import ARMS, CONTROLS, INVENTORY_BLIND
from malgen.errors import ConfigError, ContractError
from malgen.evidence import LEVEL_FIELDS
from malgen.files import write_atomically
from malgen.grid.moves import ACTIONS
from malgen.progress import Progress, Silent
from malgen.rollout import collect, replay
from malgen.scenarios import find_scenario
from malgen.store import Manifest
from malgen.streams import stream
from malgen.worlds.keys_and_chests import PLANES, KeysAndChests, Level, sample_levels

FOLDER = "onnx"
TOLERANCE = 1e-4
"""Two programs that add the same numbers in another order differ by less."""

EPISODES = 128
BLOCK = 1024
"""Observations that are asked about together."""

_HELD = PLANES.index("held")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One network as an ONNX file.

    Attributes:
        path: of the file.
        arm: control arm that it belongs to; "" for the run itself.
        seed: its number among the training runs.
        difference: largest difference of a logit or value from the network's own.
        observations: on how many observations they were compared.
    """

    path: str
    arm: str
    seed: int
    difference: float
    observations: int
    type: str = "exported"


def export(
    run: Path, *, out: Path | None = None, progress: Progress | None = None
) -> tuple[Exported, ...]:
    """Write every network of a run, and of its control arms, as an ONNX file.

    Args:
        run: folder that was trained; if it was deployed, its recorded observations are
            what the files are tried on, else those of episodes played for that.
        out: folder for the files; None: ``onnx`` in the run's folder.
        progress: where to report.

    Returns:
        One entry per file; their names are ``seed0.onnx``, ``crop-11-seed0.onnx``, ...

    Raises:
        ConfigError: no trained run; a package that is not installed; a file of that
            name that is another one.
        ContractError: a file answers otherwise than its network; it is not kept.
    """
    progress = progress or Silent()
    manifest = store.read_manifest(run)
    if not (run / store.POLICIES).exists():
        raise ConfigError(
            f"{run} has no {store.POLICIES}; train it to the end first, with 'malgen "
            "train' or 'malgen run' and --resume."
        )
    onnx_graph.import_onnx()  # refuses before the work
    homes = {"": run} | {
        arm: run / CONTROLS / arm
        for arm in ARMS
        if (run / CONTROLS / arm / store.POLICIES).exists()
    }
    found = []
    progress.plan({"export": 1.0})
    with store.hold(run) if out is None else nullcontext():
        for done, (arm, home) in enumerate(homes.items()):
            progress.update("export", done / len(homes), arm or "the run's networks")
            found += _exported(arm, home, out or run / FOLDER, manifest)
    progress.update("export", 1.0, f"{len(found)} networks")
    return tuple(found)


def _exported(
    arm: str, home: Path, folder: Path, manifest: Manifest
) -> Iterator[Exported]:
    """The networks of one arm."""
    policies = load_policies(home / store.POLICIES)
    path = home / store.ROLLOUTS
    recorded = store.read_arrays(path) if path.exists() else None
    visible = arm != INVENTORY_BLIND
    for seed in range(number_of(policies)):
        policy = policy_at(policies, seed)
        name = f"{arm}-seed{seed}" if arm else f"seed{seed}"
        blob = onnx_graph.model(
            policy,
            inventory_visible=visible,
            metadata=_metadata(arm, seed, manifest, policy),
        )
        if recorded is None:
            observations = _played(policy, manifest)
        else:
            observations = _recorded(recorded, seed, path)
        difference = largest_difference(
            blob, policy, observations, inventory_visible=visible
        )
        if not difference <= TOLERANCE:  # NaN is refused too
            raise ContractError(
                f"The ONNX file of {name} answers otherwise than its network: a logit "
                f"or value differs by {difference:.2g}, at most {TOLERANCE:g} is "
                "allowed; it was not kept. Please report this, with the versions of "
                "onnx and onnxruntime."
            )
        target = folder / f"{name}.onnx"
        if target.exists() and target.read_bytes() != blob:
            raise ConfigError(
                f"{target} exists and is another file; remove it, or give another "
                "folder with --out."
            )
        write_atomically(target, blob)
        yield Exported(
            path=str(target),
            arm=arm,
            seed=seed,
            difference=difference,
            observations=len(observations),
        )


def largest_difference(
    blob: bytes,
    policy: Any,
    observations: Bool[np.ndarray, "n h w 7"],
    *,
    inventory_visible: bool = True,
) -> float:
    """How far an ONNX file's logits and values are from a network's, at most.

    Args:
        blob: the content of the file.
        policy: the network.
        observations: what both are asked about.
        inventory_visible: False hides the keys in hand from the network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        path.write_bytes(blob)
        session = OnnxFile(path).session
        found = 0.0
        for start in range(0, len(observations), BLOCK):
            seen = observations[start : start + BLOCK]
            theirs = session.run(
                [onnx_graph.LOGITS, onnx_graph.VALUE],
                {onnx_graph.INPUT: seen.astype(np.int8)},
            )
            if not inventory_visible:
                seen = seen.copy()
                seen[..., _HELD] = False
            for mine, other in zip(
                _answers(policy, seen), map(np.asarray, theirs), strict=True
            ):
                if mine.shape != other.shape:
                    return float("inf")
                found = np.maximum(found, np.abs(mine - other).max())  # keeps NaN
    return float(found)


def _answers(
    policy: Any, observations: Bool[np.ndarray, "n h w 7"]
) -> tuple[Float[np.ndarray, "n a"], Float[np.ndarray, " n"]]:
    # as many rows every time, so that one program is compiled
    missing = [(0, BLOCK - len(observations))] + [(0, 0)] * 3
    logits, values = _evaluate(policy, np.pad(observations, missing, mode="edge"))
    number = len(observations)
    return np.asarray(logits)[:number], np.asarray(values)[:number]


@eqx.filter_jit
def _evaluate(policy, observations):
    return jax.vmap(lambda seen: policy.evaluate(seen)[:2])(observations)


def _recorded(
    arrays: dict[str, np.ndarray], seed: int, path: Path
) -> Bool[np.ndarray, "n h w 7"]:
    """What one policy saw in the first recorded episodes."""
    try:
        levels = Level(
            *(jnp.asarray(arrays[f"level_{name}"][:EPISODES]) for name in LEVEL_FIELDS)
        )
        actions = arrays[f"actions_{seed}"][:EPISODES]
        return _seen(replay(stream(0), KeysAndChests(), actions, levels))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"{path} is incomplete ({type(error).__name__}: {error}); "
            f"{store.remedy(path)}."
        ) from None


def _played(policy: Any, manifest: Manifest) -> Bool[np.ndarray, "n h w 7"]:
    """What a policy sees in a run that was not deployed yet."""
    where = find_scenario(manifest.scenario).deployment(manifest.price)
    levels = sample_levels(stream(manifest.seed, "export"), where.levels, EPISODES)
    key = stream(manifest.seed, "export", "play")
    return _seen(collect(key, where.world, policy, levels, where.horizon))


def _seen(rollout: Any) -> Bool[np.ndarray, "n h w 7"]:
    """The observations of episodes, as long as they went on."""
    before = jax.tree.map(lambda leaf: leaf[:, :-1], rollout.states)
    look = jax.vmap(jax.vmap(KeysAndChests().observe, (0, None)))
    return np.asarray(look(before, rollout.level))[np.asarray(rollout.active)]


def _metadata(arm: str, seed: int, manifest: Manifest, policy: Any) -> dict[str, str]:
    """What somebody who has nothing but the file must know."""
    shape = f"{policy.height}, {policy.width}, {len(PLANES)}"
    return {
        "about": (
            f"obs: Int8[batch, {shape}], zeros and ones, as the Gymnasium environment "
            f"{KEYS_AND_CHESTS} shows them with view=None. logits: "
            f"Float[batch, {len(ACTIONS)}], one per action; draw actions from their "
            "softmax. value: Float[batch], estimated discounted return."
        ),
        "planes": json.dumps(PLANES),
        "actions": json.dumps(ACTIONS),
        "environment": KEYS_AND_CHESTS,
        "scenario": manifest.scenario,
        "arm": arm,
        "run_seed": str(manifest.seed),
        "training_run": str(seed),
        "malgen": __version__,
    }
