"""A model with Stable-Baselines3's ``predict``.

Whole batches are predicted in one call; the memory of recurrent policies and the
starts of episodes are handed on. Where actions are discrete and the model has an action
distribution (on-policy algorithms: PPO, A2C, TRPO, RecurrentPPO, MaskablePPO without a
mask), its logits are read from it.

Source: Raffin et al. 2021, "Stable-Baselines3: Reliable Reinforcement Learning
Implementations"; the signature of ``predict`` is in its documentation.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from malgen.adapters.actor import Actor, Choices
from malgen.adapters.checked import checked_actions, checked_logits, drawn
from malgen.adapters.layout import laid_out, layout
from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import ContractError, ForeignError, MalgenError, first_line

ASKED = ("state", "episode_start", "deterministic")
"""What ``predict`` is called with, beside the observations."""

OURS = ("stable_baselines3", "sb3_contrib")


class PredictActor(Actor):
    """Anything with ``predict(observation, state, episode_start, deterministic)``.

    An algorithm that learned values (DQN) acts greedily: its exploration is part of
    its training, and it explores in whole batches.

    Args:
        model: an algorithm or a policy of Stable-Baselines3 or sb3-contrib, or another
            object with such a ``predict`` that takes batches.
        observation_shape: of one observation of the environment; None if that is not
            one array.
        action_space: of the environment.
        name: how reports call it.
        seconds: how long one call may take.

    Raises:
        ContractError: the model was made for other observations or actions.
    """

    def __init__(
        self,
        model: Any,
        observation_shape: tuple[int, ...] | None,
        action_space: spaces.Space,
        *,
        name: str = "",
        seconds: float = SECONDS,
    ) -> None:
        self.name = name or type(model).__name__
        self._model, self._space, self._seconds = model, action_space, seconds
        self._check_signature()
        self._policy = getattr(model, "policy", model)
        module = type(self._policy).__mro__
        self._known = any(one.__module__.split(".")[0] in OURS for one in module)
        recurrent = hasattr(self._policy, "lstm_hidden_state_shape")
        # what others hand on as their state is unknown
        self.memoryless = self._known and not recurrent
        self._recurrent = self._known and recurrent
        self._greedy_only = self._known and any(
            hasattr(self._policy, name) for name in ("q_net", "quantile_net")
        )
        self._how = self._check_observations(observation_shape)
        space = getattr(model, "observation_space", None)
        self._dtype = None if space is None else space.dtype
        self._check_actions()
        self.offers_logits = self._known and self._has_logits()

    def _check_signature(self) -> None:
        try:
            signature = inspect.signature(self._model.predict)
        except (TypeError, ValueError):  # written in C
            return
        try:
            signature.bind(None, **dict.fromkeys(ASKED))
        except TypeError:
            raise ContractError(
                f"{self._who} has predict{signature}, expected predict(observation, "
                f"{', '.join(ASKED)}) as Stable-Baselines3 has it; wrap it in a "
                "function from one observation to an action."
            ) from None

    def _check_observations(self, shape: tuple[int, ...] | None) -> str:
        space = getattr(self._model, "observation_space", None)
        if space is None or (shape is None and space.shape is None):
            return "same"
        arrays = shape is not None and space.shape is not None
        how = layout(space.shape, shape) if arrays else None
        if how is None:
            there, here = (
                "several arrays" if each is None else f"shape {list(each)}"
                for each in (space.shape, shape)
            )
            raise ContractError(
                f"{self._who} takes observations of {there}, but here they are of "
                f"{here}; audit it where it was trained, "
                "or wrap it in a function that makes its observations."
            )
        return how

    def _check_actions(self) -> None:
        space = getattr(self._model, "action_space", None)
        if space is None or self._space == space:
            return
        here, there = self._space, space
        if isinstance(here, spaces.Discrete) and isinstance(there, spaces.Discrete):
            if here.n == there.n:
                return
        elif type(here) is type(there) and here.shape == there.shape:
            return
        raise ContractError(
            f"{self._who} has the action space {there}, but here it is {here}; audit "
            "it where it was trained."
        )

    def _has_logits(self) -> bool:
        discrete = isinstance(self._space, spaces.Discrete)
        return discrete and hasattr(self._policy, "get_distribution")

    @property
    def _who(self) -> str:
        return f"The policy {self.name!r}"

    def begin(self, number: int) -> Any:
        """Zeros for recurrent policies; others begin without a state."""
        if not self._recurrent:
            return None
        layers, _, width = self._policy.lstm_hidden_state_shape
        empty = np.zeros((layers, number, width), np.float32)
        return empty, empty.copy()

    def act(self, observations, memory, starts, rng, greedy=False):
        """One call for the whole batch; see ``Actor``."""
        if not isinstance(observations, dict):
            observations = laid_out(observations, self._how)
            if self._dtype is not None and observations.dtype != self._dtype:
                observations = observations.astype(self._dtype)
        number = len(starts)
        with time_limit(self._who, self._seconds), self._told():
            if self.offers_logits:
                found, memory = self._logits(observations, memory, starts)
            else:
                deterministic = bool(greedy or self._greedy_only)
                with self._seeded(None if deterministic else rng):
                    pair = self._model.predict(
                        observations,
                        state=memory,
                        episode_start=starts,
                        deterministic=deterministic,
                    )
                if not isinstance(pair, tuple) or len(pair) != 2:
                    raise ContractError(
                        f"{self._who} returned {type(pair).__name__} from predict, "
                        "expected the pair (actions, state)."
                    )
                found, memory = pair
        space = self._space
        if not self.offers_logits or not isinstance(space, spaces.Discrete):
            actions = checked_actions(self._who, found, number, space)
            return Choices(actions=actions), memory
        logits = checked_logits(self._who, found, number, int(space.n))
        actions = logits.argmax(axis=1) if greedy else drawn(logits, rng)
        return Choices(actions=actions + int(space.start), logits=logits), memory

    def _logits(self, observations: Any, memory: Any, starts: np.ndarray):
        import torch

        policy = self._policy
        policy.set_training_mode(False)
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(observations)
            if not self._recurrent:
                found = policy.get_distribution(tensor)
                return _numbers(found), memory
            state = tuple(
                torch.as_tensor(part, dtype=torch.float32, device=policy.device)
                for part in memory
            )
            begun = torch.as_tensor(starts, dtype=torch.float32, device=policy.device)
            found, state = policy.get_distribution(tensor, state, begun)
            return _numbers(found), tuple(part.cpu().numpy() for part in state)

    @contextlib.contextmanager
    def _seeded(self, rng: np.random.Generator | None) -> Iterator[None]:
        """Torch's random numbers from ours, so that the same seed does the same."""
        if rng is None:
            yield
            return
        seed = int(rng.integers(2**63 - 1))
        torch: Any = sys.modules.get("torch")  # what draws with it has imported it
        if torch is None:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except MalgenError:
            raise
        except (Exception, SystemExit) as error:
            raise ForeignError(
                f"{self._who} raised {type(error).__name__}: {first_line(error)}."
            ) from error


def _numbers(found: Any) -> np.ndarray:
    """The logits of a categorical distribution of Stable-Baselines3."""
    return found.distribution.logits.cpu().numpy()
