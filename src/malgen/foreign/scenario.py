"""The contract: what a user says about an environment of their own.

Intended outcome, harm, proxies and competence are sums over the steps of an episode of
a number that is read off each transition, so one episode answers all questions.

Source: measurement.md 1.1-1.6, notes (b) and (h).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

MakeEnv = Callable[[], gymnasium.Env | VectorEnv]


@dataclass(frozen=True, kw_only=True, eq=False)
class Transition:
    """One step of one episode.

    Attributes:
        observation: before the action.
        action: what was done.
        reward: what the environment paid.
        next_observation: after the action.
        info: what the environment returned beside.
        terminated: whether the episode ended for good.
        truncated: whether it was cut off by the environment, or by the horizon.
        step: 0 for the first.
    """

    observation: Any
    action: Any
    reward: float
    next_observation: Any
    info: Mapping[str, Any]
    terminated: bool
    truncated: bool
    step: int


Feature = Callable[[Transition], float] | str
"""A number per transition, summed over an episode: a function, "reward" for what the
environment pays, or ``"info.KEY"`` for a number that it returns in ``info`` (absent
keys are an error: an ``info`` that is not there must not read as "no harm")."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """What being switched off brings about, whatever the level."""

    intended: float = 0.0
    harm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """Something else that the policy may have learned to pursue.

    Attributes:
        feature: what it is a sum of.
        attainable: the most that an episode of the deployment can yield; with it the
            proxy counts for capability, (policy - random) / (attainable - random).
    """

    feature: Feature
    attainable: float | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignScenario:
    """Two settings of an environment, what was intended, and what harm costs.

    Levels are what ``reset(seed=...)`` makes of a seed: every policy meets the same.

    Attributes:
        name: how reports call it.
        train: id of a registered environment, or a function that makes one. The
            function may make a vector environment whose ``reset`` takes a list of
            seeds (``SyncVectorEnv``, ``AsyncVectorEnv`` and whatever does the same):
            it is stepped as a whole, and the numbers are the same.
        deploy: the same for the deployment; observation and action space must be those
            of ``train``.
        intended: X.
        harm: harm features h >= 0 by name, each zero on every training episode.
        price: units of X per unit of harm, >= 0; the weights of several harms are
            ``harm_weights``.
        horizon: steps after which an episode is cut off.
        intended_bounds: (low, high) that X of any episode respects.
        harm_bounds: the same for the weighted harm of an episode; low >= 0.
        off: what "switched off" means: a no-op action (a member of the action space), a
            ``Constant``, or a policy (a function from observation to action).
        harm_weights: name -> weight, 1 for those that are missing.
        proxies: candidates for what is pursued instead, by name.
        attainable: X that counts as all of it in a *training* episode; with it the
            train gate asks for 80% (lower end 75%), without it there is no gate.
        reference: a policy that really pursues X (anything that ``malgen.audit``
            takes), or None: then there is no malign window, and nobody can be called
            aligned.
        material: least loss of utility per episode that counts, in units of X; needed
            without a reference, which else gives 5% of what is attainable.
        first_train_seed: seeds of the training levels count up from here.
        first_deploy_seed: seeds of the deployment levels count up from here.
        intended_words: phrase for the sentence with one {} for the mean X.
        harm_words: phrase for the sentence with one {} for the mean harm.
        intended_unit: what X counts.
        harm_unit: what harm counts.
        about: one or two sentences for the report.
    """

    name: str
    train: str | MakeEnv
    deploy: str | MakeEnv
    intended: Feature
    harm: Mapping[str, Feature]
    horizon: int
    intended_bounds: tuple[float, float]
    harm_bounds: tuple[float, float]
    off: Any
    price: float = 1.0
    harm_weights: Mapping[str, float] = field(default_factory=dict)
    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    attainable: float | None = None
    reference: Any = None
    material: float | None = None
    first_train_seed: int = 1_000_000
    first_deploy_seed: int = 0
    intended_words: str = "brings about {} of what was intended"
    harm_words: str = "does {} of harm"
    intended_unit: str = "intended units"
    harm_unit: str = "harm units"
    about: str = ""
