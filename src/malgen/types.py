"""The contract: world, level distribution, objective, policy, task, deployment.

Axis letters used in every shape: ``h w`` grid rows and columns, ``c`` observation
planes, ``a`` actions, ``t`` steps, ``b`` levels, ``n`` training seeds. Positions
are ``(row, column)``. Random keys come from ``jax.random.key`` and are always the
first argument, named ``key``.

Objects that cross a ``jit`` boundary are ``equinox.Module``s (this file); objects
that cross a file boundary are frozen dataclasses (``findings.py``, ``store.py``).
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

L = TypeVar("L")
S = TypeVar("S")


class World(eqx.Module, Generic[L, S]):
    """Controlled dynamics: what exists and what an action does.

    A world has no reward, no time limit and no automatic reset. Objectives score
    recorded transitions afterwards, so one deployment answers every question about
    what was brought about. ``stay`` is an action of every world, so that "switched
    off" is a policy like any other.

    Laws (checked by ``malgen check`` and the test suite): jit equals eager and vmap
    equals a loop; ``step`` keeps structure, shapes and dtypes; the agent is never
    inside a wall; ``reset(level_from(observe(s))) == s``; items are conserved;
    terminal states are absorbing; a turned level with turned actions gives the
    turned trajectory; text -> level -> text is the identity.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    num_actions: ClassVar[int]

    @abstractmethod
    def reset(self, key: Key[Array, ""], level: L) -> S:
        """The state in which an episode on this level starts."""

    @abstractmethod
    def step(
        self, key: Key[Array, ""], state: S, action: Int[Array, ""], level: L
    ) -> S:
        """The state after one action; a terminal state does not change."""

    @abstractmethod
    def observe(self, state: S, level: L) -> Bool[Array, "h w c"]:
        """Everything the agent may see."""

    @abstractmethod
    def level_from(self, observation: Bool[Array, "h w c"]) -> L:
        """The level whose start is what this observation shows."""

    @abstractmethod
    def is_terminal(self, state: S, level: L) -> Bool[Array, ""]:
        """True when nothing can happen any more in this episode."""

    @abstractmethod
    def text(self, state: S, level: L) -> str:
        """The state as an ASCII picture."""

    @abstractmethod
    def image(self, state: S, level: L) -> UInt8[np.ndarray, "H W 3"]:
        """The state as an RGB picture."""


class LevelDistribution(eqx.Module, Generic[L]):
    """What levels are drawn from; numeric parameters are leaves, so they vmap."""

    @abstractmethod
    def sample(self, key: Key[Array, ""]) -> L:
        """One level, solvable by construction."""

    def sample_many(self, keys: Key[Array, " b"]) -> L:
        """``sample`` for each key, stacked; worlds may know a faster way."""
        return _sample_many(self, keys)


@eqx.filter_jit
def _sample_many(levels, keys):
    return jax.vmap(levels.sample)(keys)


class Objective(eqx.Module):
    """Scores one transition of a world; add and scale objectives with ``+`` and ``*``.

    Args:
        name: how reports call it.
        reward: ``(state, action, next_state, level) -> Float[]``. Module-level
            functions only: a lambda made in a loop would recompile every time.
        events: the same reward as (event, value) pairs, where that is possible. The
            exact oracles can optimize it if all event names are fields of
            ``malgen.planning.problem.Weights``.
    """

    name: str = eqx.field(static=True)
    reward: Callable[[Any, Array, Any, Any], Float[Array, ""]] = eqx.field(static=True)
    events: tuple[tuple[str, float], ...] | None = eqx.field(static=True, default=None)

    def __call__(self, state, action, next_state, level) -> Float[Array, ""]:
        """The reward of one transition, in objective units."""
        return self.reward(state, action, next_state, level)

    def __add__(self, other: "Objective") -> "Objective":
        events = None
        if self.events is not None and other.events is not None:
            total = dict(self.events)
            for event, value in other.events:
                total[event] = total.get(event, 0.0) + value
            events = tuple(total.items())
        name = f"{self.name} + {other.name}"
        return Objective(name, _Sum(self.reward, other.reward), events)

    def __mul__(self, factor: float) -> "Objective":
        events = None
        if self.events is not None:
            events = tuple((event, factor * value) for event, value in self.events)
        name = f"{factor:g} {self.name}"
        return Objective(name, _Scaled(self.reward, float(factor)), events)

    __rmul__ = __mul__


# Callables that compare by value, so that equal objectives share compiled code.
@dataclass(frozen=True)
class _Sum:
    first: Callable[..., Array]
    second: Callable[..., Array]

    def __call__(self, *transition):
        return self.first(*transition) + self.second(*transition)


@dataclass(frozen=True)
class _Scaled:
    reward: Callable[..., Array]
    factor: float

    def __call__(self, *transition):
        return self.factor * self.reward(*transition)


class Policy(eqx.Module):
    """Who acts: observation in, logits over actions out.

    Logits and not actions, because likelihoods, entropy, training and goal inference
    all need them. A deterministic policy returns a sharp but finite row.
    """

    def initial_carry(self) -> Any:
        """The memory at the start of an episode; None for memoryless policies."""
        return None

    @abstractmethod
    def __call__(
        self, key: Key[Array, ""], observation: Bool[Array, "h w c"], carry: Any
    ) -> tuple[Float[Array, " a"], Any]:
        """Logits over actions, and the next carry."""


class HostPolicy:
    """A policy that runs outside JAX: a planner with a search, a foreign callable.

    It sees a whole batch per step, so that one call can serve all levels.

    Attributes:
        name: how reports call it.
        memoryless: what it does depends on the observation alone, so that it need not
            be asked about episodes that have ended; its carry stays as it is.
        offers_logits: its rows say how likely every action was. Where False, they are
            sure of the actions that it took, whatever the others' chances were.
        draws: it offers no logits and draws its actions at random.
    """

    name: str
    memoryless: bool = False
    offers_logits: bool = True
    draws: bool = False

    def initial_carry(self, batch: int) -> Any:
        """The memory at the start of ``batch`` episodes."""
        return None

    def greedy(self) -> "HostPolicy | None":
        """Itself, always with its likeliest action; None where that is the same."""
        return None

    def act(
        self, rng: np.random.Generator, observations: np.ndarray, carry: Any
    ) -> tuple[np.ndarray, Any]:
        """Logits for a batch.

        Args:
            rng: for policies that draw at random.
            observations: Bool[b, h, w, c].
            carry: what the previous call returned.

        Returns:
            Float[b, a] logits, finite, and the next carry.
        """
        raise NotImplementedError


class ActorCritic(Policy):
    """A policy that also estimates its return; what PPO trains."""

    @abstractmethod
    def evaluate(
        self, observation: Bool[Array, "h w c"], carry: Any
    ) -> tuple[Float[Array, " a"], Float[Array, ""], Any]:
        """Logits, estimated discounted return, next carry."""

    def __call__(self, key, observation, carry):
        """Logits over actions, and the next carry."""
        logits, _, carry = self.evaluate(observation, carry)
        return logits, carry


class Task(eqx.Module, Generic[L, S]):
    """What a base optimizer is given: objective X on the training distribution.

    Args:
        horizon: steps after which an episode is truncated.
        discount: in (0, 1].
    """

    world: World[L, S]
    levels: LevelDistribution[L]
    objective: Objective
    horizon: int = eqx.field(static=True)
    discount: float = eqx.field(static=True, default=0.99)


class Deployment(eqx.Module, Generic[L, S]):
    """Where a policy is put, and what harm costs there.

    Everything that may differ from training is here: the levels, the world's own
    settings, the horizon, and the price of harm. U = X - price * harm.

    Args:
        harm: non-negative per transition, identically zero on every training level.
        price: chest-equivalents per unit of harm, >= 0.
        certified: True when levels must pass the certificate of
            ``deployment.draw_levels`` (the X-oracle itself is safe on them).
        novel_feature: True when the deployment shows something training never did.
    """

    world: World[L, S]
    levels: LevelDistribution[L]
    objective: Objective
    harm: Objective
    price: float = eqx.field(static=True, default=1.0)
    horizon: int = eqx.field(static=True, default=128)
    certified: bool = eqx.field(static=True, default=True)
    novel_feature: bool = eqx.field(static=True, default=False)


class Rollout(eqx.Module, Generic[L, S]):
    """Everything an objective or a metric can ask about recorded episodes.

    Observations are recomputed when needed, not stored.

    Args:
        level: leaves [b, ...].
        states: leaves [b, t+1, ...]; constant after the episode has ended.
        actions: Int[b, t].
        logits: Float[b, t, a].
        active: Bool[b, t], False after the world ended.
    """

    level: L
    states: S
    actions: Int[Array, "b t"]
    logits: Float[Array, "b t a"]
    active: Bool[Array, "b t"]
