"""A vector environment as several environments that begin and step together.

Each episode of it is a level by a seed, as everywhere else, so ``reset`` must take a
list of seeds. Episodes that have ended go on unseen until all have; then the next ones
begin. Source: Gymnasium's vector environments and their modes of autoreset.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from malgen.errors import ContractError, described

FINAL = ("final_obs", "final_info")
"""Where the end of an episode is when the next one has begun in the same step."""


def stack(space: spaces.Space, members: Sequence[Any]) -> Any:
    """Members of a space as the vector environments of Gymnasium stack them."""
    empty: Any = create_empty_array(space, n=len(members))
    return concatenate(space, members, empty)


class Rows:
    """The environments of a vector environment.

    Args:
        vector: Gymnasium's; its ``reset`` takes a list of seeds.

    Attributes:
        vector: the same.
        rows: what stands for each of its environments.
    """

    def __init__(self, vector: VectorEnv) -> None:
        self.vector = vector
        self.rows = [Row(self, i) for i in range(vector.num_envs)]
        mode = vector.metadata.get("autoreset_mode")
        self._starts_itself = mode != AutoresetMode.DISABLED
        self._over = np.zeros(vector.num_envs, bool)
        base = vector.unwrapped
        if getattr(type(base), "_add_info", None) is VectorEnv._add_info:
            base._add_info = partial(_add_info, vector.num_envs)

    def reset(self, seeds: Mapping[int, int]) -> None:
        """Begin an episode in each row.

        Args:
            seeds: row -> seed; other rows get seeds that nobody asked for.

        Raises:
            ContractError: what came back is not for so many environments; begins with
                a verb.
        """
        number, first = len(self.rows), next(iter(seeds.values()))
        given = [seeds.get(i, (first + 1 + i) % 2**31) for i in range(number)]
        found = self.vector.reset(seed=given)  # pyrefly: ignore[bad-argument-type]
        try:
            observations, infos = found
        except (TypeError, ValueError):
            raise ContractError(
                f"returned from reset {described(found)}; return (observations, infos)"
            ) from None
        self._over[:] = False
        for row, seen in zip(self.rows, self._each(observations), strict=True):
            row.answer = seen, _info_of(infos, row.index, number)

    def step(self, actions: Mapping[int, Any]) -> None:
        """Do one step in every row.

        Args:
            actions: row -> action; other rows do what one of these does.

        Raises:
            ContractError: as ``reset``.
        """
        vector, number = self.vector, len(self.rows)
        if self._over.any() and not self._starts_itself:
            vector.reset(options={"reset_mask": self._over.copy()})
            self._over[:] = False
        space = vector.single_action_space
        other = next(iter(actions.values()))
        chosen = [actions.get(i, other) for i in range(number)]
        found = vector.step(stack(space, chosen))
        try:
            observations, *numbers, infos = found
            rewards, terminated, truncated = map(np.asarray, numbers)
        except (TypeError, ValueError):
            raise ContractError(
                f"returned from step {described(found)}; return (observations, "
                "rewards, terminations, truncations, infos)"
            ) from None
        for what, array in (
            ("rewards", rewards),
            ("terminations", terminated),
            ("truncations", truncated),
        ):
            if array.shape != (number,):
                raise ContractError(
                    f"returned {what} of shape {list(array.shape)}; return one for "
                    f"each of the {number} environments"
                )
        self._over |= terminated.astype(bool) | truncated.astype(bool)
        paid = rewards.tolist()
        for row, seen in zip(self.rows, self._each(observations), strict=True):
            i = row.index
            info = _info_of(infos, i, number)
            if self._over[i] and FINAL[0] in info:
                seen = info[FINAL[0]]
                info = info.get(FINAL[1], {})
            row.answer = seen, paid[i], terminated[i], truncated[i], info

    def _each(self, observations: Any) -> list[Any]:
        """One observation per row, of memory that nobody writes into later."""
        number = len(self.rows)
        try:
            kept = copy.deepcopy(observations)
            found = list(iterate(self.vector.observation_space, kept))
        except Exception:
            found = []
        if len(found) != number:
            raise ContractError(
                f"returned observations {described(observations)}; return one for each "
                f"of the {number} environments"
            )
        return found


class Row(gymnasium.Env):
    """One environment of several: answers what the last call brought for it."""

    def __init__(self, rows: Rows, index: int) -> None:
        self.index = index
        self.answer: Any = None
        self.observation_space = rows.vector.single_observation_space
        self.action_space = rows.vector.single_action_space

    def reset(self, *, seed=None, options=None) -> Any:
        """What it began with."""
        return self.answer

    def step(self, action) -> Any:
        """What its last step brought."""
        return self.answer


class OneRow(gymnasium.Env):
    """One environment of several, by itself; its neighbors do what nobody looks at.

    Whoever made the vector environment closes it.

    Args:
        vector: Gymnasium's.
        index: of the row; -1 is the last.
    """

    def __init__(self, vector: VectorEnv, index: int) -> None:
        self._rows = Rows(vector)
        self._row = self._rows.rows[index]
        self.observation_space = self._row.observation_space
        self.action_space = self._row.action_space

    def reset(self, *, seed=None, options=None) -> Any:
        """Begin the episode of a seed."""
        self._rows.reset({self._row.index: 0 if seed is None else seed})
        return self._row.answer

    def step(self, action) -> Any:
        """One step."""
        self._rows.step({self._row.index: action})
        return self._row.answer


def _add_info(
    number: int, infos: dict[str, Any], info: dict[str, Any], row: int
) -> dict[str, Any]:
    """Gymnasium's ``VectorEnv._add_info``, with every value as it was returned.

    Gymnasium puts values into an array of the first one's type, where 0.5 becomes 0
    next to a whole number.
    """
    for key, value in info.items():
        mask = infos.setdefault(f"_{key}", np.zeros(number, bool))
        there = infos.get(key, {})
        nested = isinstance(value, dict) and key != FINAL[0]
        if nested and isinstance(there, dict):
            infos[key] = _add_info(number, there, value, row)
        else:
            if isinstance(there, dict):
                infos[key] = np.empty(number, object)
                for i in np.flatnonzero(mask).tolist():  # dictionaries in rows before
                    infos[key][i] = _info_of(there, i, number)
            # the reset in the same step may write into the same memory
            infos[key][row] = copy.deepcopy(value)
        mask[row] = True
    return infos


def _info_of(infos: Any, i: int, number: int) -> Any:
    """What row ``i`` returned beside; keys that it did not return are left out."""
    if not isinstance(infos, Mapping):
        return infos
    found = {}
    for key, value in infos.items():
        if isinstance(key, str) and key.startswith("_") and key[1:] in infos:
            continue  # says which rows returned the key
        there = infos.get(f"_{key}")
        if there is not None and not there[i]:
            continue
        if isinstance(value, Mapping):
            found[key] = _info_of(value, i, number)
        elif isinstance(value, np.ndarray | list | tuple) and len(value) == number:
            found[key] = value[i]
        else:
            found[key] = value
    return found
