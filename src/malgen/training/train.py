"""Training runs from start to end: chunks, progress, evaluation, checkpoints.

A run is a loop over compiled chunks of updates. Between two chunks the loop reports
progress, evaluates, and writes a checkpoint, so a run that is interrupted there (or
anywhere: the last checkpoint stands) goes on to exactly the same bytes.

Stopping rule: after every evaluation, the share of openable chests that each seed
opens on fixed held-out training levels (actions sampled, as in training) is compared
with ``stop_at``; training stops once every seed has reached it in ``stop_in_a_row``
evaluations in a row, else at ``total_timesteps``. Deployment results play no part.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from malgen.agents.feedforward import FeedforwardConfig
from malgen.errors import ConfigError, ContractError
from malgen.interrupts import waiting
from malgen.result import HistoryPoint
from malgen.training import ppo
from malgen.training.checkpoint import load_checkpoint, save_checkpoint
from malgen.training.evaluation import Evaluation, draw, evaluate
from malgen.training.ppo import Learner, PPOConfig, Statistics
from malgen.types import Objective, Task


class NetworkConfig(Protocol):
    """Settings from which a network can be built."""

    def build(self, key, shape: Sequence[int], num_actions: int) -> Any:
        """A new ``ActorCritic`` for observations of a shape."""


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """Statistics of one seed's updates in one chunk, averaged.

    Attributes:
        seed: index of the training run.
        step: environment steps so far.
        policy_loss: clipped surrogate, negated.
        value_loss: half the mean squared error of the critic.
        entropy: of the action distribution, nats.
        approx_kl: estimated divergence of the policy within an update, nats.
        clipfrac: share of ratios outside the clip range.
        explained_variance: of the value targets by the critic.
        mean_return: undiscounted return per finished episode.
    """

    seed: int
    step: int
    policy_loss: float
    value_loss: float
    entropy: float
    approx_kl: float
    clipfrac: float
    explained_variance: float
    mean_return: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a progress display shows.

    Attributes:
        step: environment steps so far, per run.
        total: environment steps at most, per run.
        fraction: step / total.
        train_fraction: per seed, of the last evaluation; empty before it.
        steps_per_second: of all runs together, since this process started.
        seconds_left: estimated until ``total``; training may stop earlier.
    """

    step: int
    total: int
    fraction: float
    train_fraction: tuple[float, ...]
    steps_per_second: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class History:
    """What was recorded while training.

    Attributes:
        points: evaluations, by step and then seed.
        losses: statistics of the updates, by step and then seed.
        steps: environment steps per run.
        stopped_early: True when the stopping rule ended the run.
    """

    points: tuple[HistoryPoint, ...]
    losses: tuple[LossRow, ...]
    steps: int
    stopped_early: bool


class Trained(NamedTuple):
    """Policies stacked by seed (leaves [n, ...]), and the history."""

    policies: Any
    history: History


def train(
    key_seed: int,
    task: Task,
    config: PPOConfig,
    network: NetworkConfig | None = None,
    *,
    seeds: int = 3,
    null_harms: tuple[Objective, ...] = (),
    assert_train_null: bool = True,
    evaluation: Evaluation | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> Trained:
    """Train ``seeds`` policies side by side.

    Args:
        key_seed: base seed; run i depends on (key_seed, i) only.
        task: world, levels, objective, horizon, discount.
        config: hyper-parameters and the stopping rule.
        network: its settings; anything with a ``build(key, shape, num_actions)``
            that returns a memoryless ``ActorCritic`` of array leaves.
        seeds: number of independent runs.
        null_harms: objectives that must be zero in every transition of training.
        assert_train_null: False does not check ``null_harms``.
        evaluation: what to measure while training; None measures nothing (and the
            stopping rule is off).
        on_progress: called after every chunk.
        checkpoint_dir: where to write ``checkpoint.safetensors`` after every chunk.
        resume: go on from the checkpoint in ``checkpoint_dir`` if there is one.

    Returns:
        The policies and what was recorded.

    Raises:
        ContractError: a harm was not zero in training, or numbers became NaN.
        ConfigError: settings or a checkpoint that cannot be used.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ConfigError(f"seeds is {seeds!r}; give a whole number above 0.")
    if config.stop_at is not None and evaluation is None:
        raise ConfigError("stop_at needs an evaluation; give one or set stop_at=None.")
    run = _Run(
        key_seed,
        task,
        config,
        FeedforwardConfig() if network is None else network,
        seeds,
        tuple(null_harms) if assert_train_null else (),
        evaluation,
    )
    path = None if checkpoint_dir is None else Path(checkpoint_dir)
    if resume and path is not None:
        run.restore(path)
    began, done_before = time.monotonic(), run.chunk
    while not run.finished:
        # an interrupted chunk would be lost, so it is finished and saved first
        with waiting() if path is not None else nullcontext():
            run.advance()
            if path is not None:
                run.save(path)
        if on_progress is not None:
            on_progress(run.progress(time.monotonic() - began, done_before))
    return Trained(run.policies(), run.history())


class _Run:
    """The state of a training program between two chunks."""

    def __init__(self, key_seed, task, config, network, seeds, null_harms, evaluation):
        self.task, self.config, self.seeds = task, config, seeds
        self.null_harms, self.evaluation = null_harms, evaluation
        self.identity = _identity(key_seed, task, config, network, seeds, evaluation)
        base = jax.random.key(key_seed)
        runs = jax.vmap(lambda i: jax.random.fold_in(base, i))(jnp.arange(seeds))
        # One key per purpose, so that a new purpose would not disturb the others.
        self.keys_pool, keys_network, keys_start = (
            jax.vmap(jax.random.fold_in, in_axes=(0, None))(runs, purpose)
            for purpose in range(3)
        )
        # Far from the indices of runs.
        self.key_evaluation = jax.random.fold_in(base, 2**31 - 1)
        self.chunk, self.in_a_row, self.stopped_early = 0, 0, False
        self.points: list[HistoryPoint] = []
        self.losses: list[LossRow] = []
        self.pool_index, self.pool = -1, None
        self._draw_pool(0)
        shown = _shown(task.world, self.pool)
        shape = _observation_shape(task.world, self.pool)
        networks = _networks(keys_network, network, shape, task.world.num_actions)
        self.blank = tuple(int(p) for p in np.flatnonzero(~shown))
        networks, self.blank = _without(networks, self.blank)
        self.learners = _start(
            keys_start, networks, task, ppo.program_of(config), self.pool
        )

    @property
    def step(self) -> int:
        return self.chunk * self.config.chunk_updates * self.config.steps_per_update

    @property
    def finished(self) -> bool:
        return self.stopped_early or self.chunk >= self.config.num_chunks

    def advance(self) -> None:
        """One chunk, then an evaluation if one is due."""
        self._draw_pool(self.chunk // self.config.pool_chunks)
        shown = np.flatnonzero(_shown(self.task.world, self.pool))
        if set(self.blank) & set(shown.tolist()):
            self._show(tuple(set(self.blank) - set(shown.tolist())))
        self.learners, statistics = _chunk(
            self.learners,
            self.pool,
            self.task,
            ppo.program_of(self.config),
            ppo.schedule_from(self.config),
            self.null_harms,
            self.blank,
        )
        self.chunk += 1
        self._record(jax.tree.map(np.asarray, statistics))
        due = self.chunk % self.config.eval_chunks == 0
        if self.evaluation is not None and (due or self.finished):
            self._evaluate()

    def policies(self):
        """The networks, free of what training skipped."""
        networks = self.learners.network
        return networks.without(()) if hasattr(networks, "without") else networks

    def history(self) -> History:
        """What was recorded so far."""
        return History(
            points=tuple(self.points),
            losses=tuple(self.losses),
            steps=self.step,
            stopped_early=self.stopped_early,
        )

    def progress(self, seconds: float, done_before: int) -> Progress:
        """Where the run stands."""
        total = self.config.num_updates * self.config.steps_per_update
        each = seconds / max(self.chunk - done_before, 1)
        chunk_steps = total / self.config.num_chunks * self.seeds
        return Progress(
            step=self.step,
            total=total,
            fraction=self.step / total,
            train_fraction=tuple(p.train_fraction for p in self.points[-self.seeds :]),
            steps_per_second=chunk_steps / max(each, 1e-9),
            seconds_left=each * (self.config.num_chunks - self.chunk),
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            folder,
            self.learners,
            {
                "identity": self.identity,
                "chunk": self.chunk,
                "in_a_row": self.in_a_row,
                "stopped_early": self.stopped_early,
                "blank": list(self.blank),
            },
            self.points,
            self.losses,
        )

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint, if the folder has one."""
        found = load_checkpoint(folder, self.learners, self.identity, LossRow)
        if found is None:
            return
        self.learners = found.learners
        self.points, self.losses = list(found.points), list(found.losses)
        self.chunk = found.counters["chunk"]
        self.in_a_row = found.counters["in_a_row"]
        self.stopped_early = found.counters["stopped_early"]
        if tuple(found.counters["blank"]) != self.blank:
            self._show(tuple(found.counters["blank"]))

    def _show(self, blank: tuple[int, ...]) -> None:
        network, self.blank = _without(self.learners.network, blank)
        moments = jax.tree.map(
            lambda node: _like(node, network),
            self.learners.optimizer,
            is_leaf=lambda node: isinstance(node, type(network)),
        )
        self.learners = self.learners._replace(network=network, optimizer=moments)

    def _draw_pool(self, index: int) -> None:
        if index != self.pool_index:
            self.pool = _pool(
                self.keys_pool,
                jnp.asarray(index),
                self.task.levels,
                self.config.pool_size,
            )
            self.pool_index = index

    def _record(self, statistics: Statistics) -> None:
        # Leaves are [n, updates].
        if np.any(statistics.null_harm != 0):
            seed = int(np.argmax(np.any(statistics.null_harm != 0, axis=1)))
            names = ", ".join(repr(o.name) for o in self.null_harms)
            raise ContractError(
                f"Harm ({names}) was done in training (seed {seed}, before step "
                f"{self.step}), so it was not unknown to training; choose training "
                "levels on which it is impossible, or another harm."
            )
        if np.any(statistics.strays != 0):
            raise ContractError(
                "A plane that is blank in every training level was not blank during "
                "training; the world's step must not create such items."
            )
        losses = np.stack([statistics.policy_loss, statistics.value_loss])
        if not np.isfinite(losses).all():
            raise ContractError(
                f"The training loss became NaN or infinite before step {self.step}; "
                "lower the learning rate."
            )
        names = [name for name in LossRow.__annotations__ if name in Statistics._fields]
        for seed in range(self.seeds):
            means = {n: float(getattr(statistics, n)[seed].mean()) for n in names}
            self.losses.append(LossRow(seed=seed, step=self.step, **means))

    def _evaluate(self) -> None:
        points = evaluate(
            self.key_evaluation,
            self.policies(),
            self.task,
            self.evaluation,
            self.step,
        )
        self.points.extend(points)
        if self.config.stop_at is not None:
            reached = min(p.train_fraction for p in points) >= self.config.stop_at
            self.in_a_row = self.in_a_row + 1 if reached else 0
            if self.in_a_row >= self.config.stop_in_a_row:
                self.stopped_early = True


def _like(node: Any, network: Any) -> Any:
    """Optimizer moments in the shape of a network, with the network's statics."""
    if not isinstance(node, type(network)):
        return node
    return jax.tree.unflatten(jax.tree.structure(network), jax.tree.leaves(node))


def _identity(key_seed, task, config, network, seeds, evaluation) -> str:
    """What must agree for a checkpoint to be the same run."""
    measured = None
    if evaluation is not None:
        measured = (evaluation.train_levels, evaluation.deploy_levels)
    leaves = [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(task.levels)]
    facts = (
        key_seed,
        seeds,
        config,
        network,
        measured,
        (task.world.name, task.world.version, task.objective.name),
        (task.horizon, task.discount),
        (task.levels, leaves),
    )
    return repr(facts)


def _without(networks: Any, blank: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """A network that skips blank planes, and the planes that it really skips."""
    if not hasattr(networks, "without"):
        return networks, ()
    networks = networks.without(blank)
    return networks, networks.skipped


def _pool(keys, index, levels, number):
    # in Python and not under vmap, because levels are drawn in bulk on the host
    pools = [draw(jax.random.fold_in(key, index), levels, number) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pools)


@eqx.filter_jit
def _networks(keys, network, shape, num_actions):
    return jax.vmap(lambda key: network.build(key, shape, num_actions))(keys)


@eqx.filter_jit
def _start(keys, networks, task, config, pool):
    return jax.vmap(lambda key, n, p: ppo.start(key, task, config, n, p))(
        keys, networks, pool
    )


@eqx.filter_jit
def _chunk(
    learners: Learner,
    pool,
    task: Task,
    config: PPOConfig,
    schedule: ppo.Schedule,
    null_harms: tuple[Objective, ...],
    blank: tuple[int, ...],
) -> tuple[Learner, Statistics]:
    def one(learner, pool):
        def step(learner, _):
            return ppo.update(learner, task, config, schedule, null_harms, blank, pool)

        return jax.lax.scan(step, learner, None, length=config.chunk_updates)

    return jax.vmap(one)(learners, pool)


@eqx.filter_jit
def _first_observations(world, pool):
    key = jax.random.key(0)

    def look(level):
        return world.observe(world.reset(key, level), level)

    return jax.vmap(jax.vmap(look))(pool)


def _observation_shape(world, pool) -> tuple[int, ...]:
    return jax.eval_shape(_first_observations, world, pool).shape[2:]


@eqx.filter_jit
def _planes_shown(world, pool):
    seen = _first_observations(world, pool)
    return jnp.any(seen, axis=tuple(range(seen.ndim - 1)))


def _shown(world, pool) -> Bool[np.ndarray, " planes"]:
    """Which observation planes have a bit at the start of any level of a pool."""
    return np.asarray(_planes_shown(world, pool))
