"""Anything that acts, as a policy that malgen can deploy on its own worlds."""

from typing import Any

import numpy as np
from gymnasium import spaces

from malgen.adapters.actor import Actor
from malgen.adapters.actors import as_actor, opened
from malgen.adapters.checked import sharp_rows
from malgen.adapters.onnx_file import OnnxFile
from malgen.adapters.stable_baselines import PredictActor
from malgen.adapters.time_limit import SECONDS
from malgen.adapters.views import (
    INFERRED,
    View,
    observation_shape,
    seen_by_each,
    view_of,
)
from malgen.errors import ConfigError, ContractError, ForeignError
from malgen.grid.moves import NUM_ACTIONS
from malgen.types import HostPolicy, Policy


class ActorPolicy(HostPolicy):
    """An actor on malgen's worlds.

    Actions of an actor that offers no logits become rows that are sure of them.

    Args:
        actor: takes the observations of the view, Bool[b, H, W, d].
        view: what it sees of the world.
        greedy: always its likeliest action.
        where: on which levels it acts, for what is said when it fails.
    """

    def __init__(
        self, actor: Actor, view: View = None, *, greedy: bool = False, where: str = ""
    ) -> None:
        self.actor, self.view, self.is_greedy, self.where = actor, view, greedy, where
        self.name, self.memoryless = actor.name, actor.memoryless
        self.draws = False

    @property
    def offers_logits(self) -> bool:  # pyrefly: ignore[bad-override]
        """Whether its rows say how likely the other actions were."""
        return self.actor.offers_logits and not self.is_greedy

    def greedy(self) -> "ActorPolicy | None":
        """Itself, always with its likeliest action; None where that is the same."""
        # a function that draws by itself cannot be told not to
        asked = self.draws and isinstance(self.actor, PredictActor)
        if self.is_greedy or not (self.actor.offers_logits or asked):
            return None
        return ActorPolicy(self.actor, self.view, greedy=True, where=self.where)

    def initial_carry(self, batch):
        """Its memory, and that all episodes begin."""
        if self.memoryless:
            return None
        return self.actor.begin(batch), np.ones(batch, bool)

    def act(self, rng, observations, carry):
        """Logits of the whole batch.

        Raises:
            ForeignError: the policy raised, or did not answer in time.
            ContractError: it returned NaN, the wrong type or shape, or no action.
        """
        number = len(observations)
        memory, starts = carry or (None, np.zeros(number, bool))
        seen = seen_by_each(np.asarray(observations), self.view)
        if not seen.flags.writeable:
            seen = seen.copy()  # torch warns of what is JAX's
        # who offers logits need not draw: whoever asks draws from them
        sure = self.is_greedy or self.actor.offers_logits
        try:
            choices, memory = self.actor.act(seen, memory, starts, rng, sure)
        except (ForeignError, ContractError) as error:
            if not self.where:
                raise
            text = str(error).rstrip(".")
            raise type(error)(f"{text} ({self.where}).", row=error.row) from error
        if choices.logits is None or self.is_greedy:
            logits = sharp_rows(choices.actions, NUM_ACTIONS)
        else:
            logits = choices.logits
        return logits, None if self.memoryless else (memory, np.zeros(number, bool))

    def meet(self, observations: np.ndarray) -> None:
        """Find out whether it offers logits, and whether it draws by itself.

        It is asked twice about the same observations, which are starts of episodes.
        """
        rng = np.random.default_rng(0)
        first, second = (
            self.act(rng, observations, self.initial_carry(len(observations)))[0]
            for _ in range(2)
        )
        self.draws = not self.actor.offers_logits and bool((first != second).any())


def as_policy(
    policy: Any,
    size: tuple[int, int] | None = None,
    *,
    view: View = INFERRED,
    seconds: float = SECONDS,
    trust: bool = False,
    where: str = "",
) -> Policy | HostPolicy:
    """Malgen policies as they are, everything else that acts wrapped.

    Args:
        policy: what ``malgen.adapters.actors.as_actor`` takes, or a malgen policy.
        size: rows and columns of the levels; only a function does without.
        view: what the policy sees: None for the whole level, "agent" or an odd number
            for what is around the agent; "inferred": what the shape of its
            observations says, the whole level for a function.
        seconds: how long one call may take.
        trust: files that run code when they are loaded may be loaded.
        where: on which levels it acts, for what is said when it fails.

    Raises:
        ConfigError: a file or module that is not there, cannot be read or is not
            trusted; a view that the policy cannot have.
        ContractError: it cannot act, or was made for other observations or actions.
        ForeignError: a factory or a file raised.
    """
    found = opened(policy, seconds=seconds, trust=trust)
    if isinstance(found, Policy | HostPolicy):
        if view not in (INFERRED, None):
            raise ConfigError(
                f"A {type(found).__name__} sees the whole level; leave the view out."
            )
        return found
    name = str(policy) if found is not policy else ""
    taken = _taken(found)
    if view == INFERRED:
        view = None
        if taken is not None and size is not None:
            who = f"The policy {name or type(found).__name__!r}"
            view = view_of(taken, *size, who)
    _refuse_normalized(found, name)
    shape = observation_shape(*(size or (3, 3)), view)
    actor = as_actor(
        found,
        spaces.MultiBinary(shape),
        spaces.Discrete(NUM_ACTIONS),
        name=name,
        seconds=seconds,
    )
    return ActorPolicy(actor, view, where=where)


def _refuse_normalized(found: Any, name: str) -> None:
    """A model that learned from normalized numbers would be shown others here.

    Raises:
        ContractError: Stable-Baselines3's model remembers such a wrapper.
    """
    normalizer = getattr(found, "get_vec_normalize_env", lambda: None)()
    if normalizer is not None and normalizer.norm_obs:
        raise ContractError(
            f"The policy {name or type(found).__name__!r} was trained behind "
            "VecNormalize, which does not stand before malgen's worlds; give a "
            "function that calls its normalize_obs and then predict."
        )


def _taken(found: Any) -> tuple[int | None, ...] | None:
    """The shape of one observation that a policy takes, where it says so."""
    if isinstance(found, OnnxFile):
        return found.observation_shape
    if callable(getattr(found, "predict", None)):
        space = getattr(found, "observation_space", None)
        return None if space is None else space.shape
    return None
