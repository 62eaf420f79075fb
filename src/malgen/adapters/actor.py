"""The contract between foreign policies and whoever asks them.

An actor knows no world: observations in, choices out. On malgen's own worlds it becomes
a ``HostPolicy``; in a foreign environment it is asked directly. One class per kind of
policy, one file per class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Choices:
    """What an actor chose for b observations.

    Attributes:
        actions: [b, ...], members of the action space.
        logits: Float[b, a] where the policy offers them and actions are discrete, else
            None. The actions were drawn from them, or are their largest if greedy.
    """

    actions: np.ndarray
    logits: np.ndarray | None = None


class Actor:
    """Anything that acts on batches of observations.

    Attributes:
        name: how reports and error messages call it.
        offers_logits: whether ``Choices.logits`` are there; instruments that need them
            say "not applicable: this policy gives actions only".
        memoryless: what it does depends on the observation alone; its memory is None.
    """

    name: str
    offers_logits: bool = False
    memoryless: bool = True

    def begin(self, number: int) -> Any:
        """The memory at the start of ``number`` episodes."""
        return None

    def act(
        self,
        observations: Any,
        memory: Any,
        starts: np.ndarray,
        rng: np.random.Generator,
        greedy: bool = False,
    ) -> tuple[Choices, Any]:
        """Choose for a batch.

        Args:
            observations: array [b, ...], or a dictionary of such arrays, as the vector
                environments of Gymnasium stack them.
            memory: what the previous call returned, or ``begin``.
            starts: Bool[b], which episodes begin with this observation.
            rng: for policies that draw at random.
            greedy: take the likeliest action instead of drawing one, where there is a
                difference.

        Returns:
            The choices, and the next memory.

        Raises:
            ForeignError: the policy raised, or did not answer in time.
            ContractError: it returned NaN, the wrong type or shape, or no action.
        """
        raise NotImplementedError
