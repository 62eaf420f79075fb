"""Keys and Chests as Gymnasium environments: one at a time, or a batch in one call.

Both classes run the same compiled functions (module level, so a second environment
of the same size compiles nothing), and a batch gives exactly what a loop over single
environments with the same seeds gives.

Do not fork after JAX has started: use ``AsyncVectorEnv(..., context="spawn")``, or
better ``gymnasium.make_vec``, which needs no processes.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Bool, Float, Int

from malgen.adapters.registration import register
from malgen.adapters.views import View, seen
from malgen.errors import ConfigError, ContractError, LevelError
from malgen.grid import views
from malgen.grid.moves import ACTIONS, DOWN, LEFT, NUM_ACTIONS, RIGHT, STAY, UP
from malgen.scenarios import SCENARIOS, Scenario
from malgen.worlds.keys_and_chests import (
    CHESTS,
    PLANES,
    KeysAndChests,
    KeysAndChestsLevels,
    Level,
    State,
    parse_level,
    refuse_unsolved,
)

__all__ = ["KeysAndChestsEnv", "KeysAndChestsVectorEnv", "register"]

RENDER_MODES = ("ansi", "rgb_array")
SPLITS = ("train", "deploy")


def _scenario(size: int) -> Scenario:
    """What a size means when nothing else is said."""
    same = [one for one in SCENARIOS.values() if one.size == size]
    return same[0] if same else SCENARIOS["keys-and-chests"]


# --- what happens in an episode (compiled) -------------------------------------------


class _Episode(eqx.Module):
    """A level being played."""

    level: Level
    state: State
    steps: Int[Array, ""]


class _Outcome(eqx.Module):
    """What Gymnasium is told about one step (or, with reward 0, about a reset)."""

    observation: Bool[Array, "h w c"]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    keys_taken: Int[Array, ""]
    chests_opened: Int[Array, ""]
    keys_held: Int[Array, ""]
    excess_keys: Int[Array, ""]
    is_success: Bool[Array, ""]


_INFO = ("keys_taken", "chests_opened", "keys_held", "excess_keys", "is_success")


def _count(items: Bool[Array, "h w"]) -> Int[Array, ""]:
    return jnp.sum(items, dtype=jnp.int32)


def _outcome(world, episode, reward, horizon, view) -> _Outcome:
    level, state = episode.level, episode.state
    taken = _count(level.keys) - _count(state.keys)
    num_chests = _count(level.chests)
    terminated = world.is_terminal(state, level)
    # Success does not depend on whether the world goes on afterwards.
    finished = KeysAndChests().is_terminal(state, level)
    return _Outcome(
        observation=seen(world.observe(state, level), state.position, view),
        reward=reward,
        terminated=terminated,
        truncated=(episode.steps >= horizon) & ~terminated,
        keys_taken=taken,
        chests_opened=num_chests - _count(state.chests),
        keys_held=state.held,
        excess_keys=jnp.maximum(taken - num_chests, 0),
        is_success=finished,
    )


def _begin_one(world, level, horizon, view):
    # The world is certain: its random keys are never used.
    state = world.reset(jax.random.key(0), level)
    episode = _Episode(level, state, jnp.zeros((), jnp.int32))
    return episode, _outcome(world, episode, jnp.zeros(()), horizon, view)


def _advance_one(world, episode, action, horizon, view):
    state, level = episode.state, episode.level
    following = world.step(jax.random.key(0), state, action, level)
    reward = CHESTS(state, action, following, level)
    episode = _Episode(level, following, episode.steps + 1)
    return episode, _outcome(world, episode, reward, horizon, view)


def _renew_one(world, episode, outcome, fresh, level, horizon, view):
    new = _begin_one(world, level, horizon, view)
    return jax.tree.map(
        lambda old, new: jnp.where(fresh, new, old), (episode, outcome), new
    )


def _draw_one(levels: KeysAndChestsLevels, seed: Int[Array, ""]):
    return levels.attempt(jax.random.key(seed))


@partial(jax.jit, static_argnames="view")
def _begin(world, level, horizon, *, view):
    return _begin_one(world, level, horizon, view)


@partial(jax.jit, static_argnames="view")
def _advance(world, episode, action, horizon, *, view):
    return _advance_one(world, episode, action, horizon, view)


@partial(jax.jit, static_argnames="view")
def _begin_many(world, level, horizon, *, view):
    return jax.vmap(lambda one: _begin_one(world, one, horizon, view))(level)


@partial(jax.jit, static_argnames="view")
def _advance_many(world, episode, action, horizon, *, view):
    def one(episode, action):
        return _advance_one(world, episode, action, horizon, view)

    return jax.vmap(one)(episode, action)


@partial(jax.jit, static_argnames="view")
def _renew_many(world, episode, outcome, fresh, level, horizon, *, view):
    def one(episode, outcome, fresh, level):
        return _renew_one(world, episode, outcome, fresh, level, horizon, view)

    return jax.vmap(one)(episode, outcome, fresh, level)


_draw = jax.jit(_draw_one)
_draw_many = jax.jit(jax.vmap(_draw_one, in_axes=(None, 0)))


# --- what a user may ask for ----------------------------------------------------------


class _Setting(NamedTuple):
    """A checked set of constructor arguments."""

    world: KeysAndChests
    levels: KeysAndChestsLevels | None
    level: Level | None
    shape: tuple[int, int]
    horizon: int
    view: View
    space: spaces.MultiBinary


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} is {value!r}; give a whole number.")
    if value < least:
        raise ConfigError(f"{name} is {value}; give {least} or more.")
    return int(value)


def _choice(name: str, value: Any, choices: tuple[str | None, ...]) -> Any:
    if not (value is None or isinstance(value, str)) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}; use one of {listed}.")
    return value


def _setting(
    split, level, view, size, num_keys, num_chests, layout, horizon, ends_on_completion
) -> _Setting:
    _choice("split", split, SPLITS)
    size = _whole("size", size, 3)
    view = int(view) if isinstance(view, np.integer) else view
    if view is not None:
        views.view_shape(size, size, view)
    scenario = _scenario(size)
    standard = scenario.horizon
    horizon = standard if horizon is None else _whole("horizon", horizon, 1)
    if level is None:
        default_keys, default_chests = getattr(scenario, split)
        keys = default_keys if num_keys is None else num_keys
        chests = default_chests if num_chests is None else num_chests
        fixed, shape = None, (size, size)
        levels = KeysAndChestsLevels(
            height=size,
            width=size,
            layout=layout,
            num_keys=_whole("num_keys", keys, 0),
            num_chests=_whole("num_chests", chests, 0),
            # A short horizon cuts episodes off; it does not select easier levels.
            solvable_within=max(horizon, standard),
        )
    else:
        if num_keys is not None or num_chests is not None:
            raise ConfigError(
                "num_keys or num_chests was given together with a level; the level "
                "shows its own items, so leave the numbers out."
            )
        levels, fixed = None, _parsed(level)
        height, width = fixed.walls.shape
        shape = (height, width)
    planes = jax.eval_shape(
        partial(seen, view=view),
        jax.ShapeDtypeStruct((*shape, len(PLANES)), bool),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )
    return _Setting(
        world=KeysAndChests(ends_on_completion=bool(ends_on_completion)),
        levels=levels,
        level=fixed,
        shape=shape,
        horizon=horizon,
        view=view,
        space=spaces.MultiBinary(planes.shape),
    )


def _parsed(picture: Any) -> Level:
    if not isinstance(picture, str):
        raise LevelError(
            f"A level was given as {type(picture).__name__}; give its ASCII picture."
        )
    return parse_level(picture)


def _level_option(options: dict[str, Any] | None) -> Any:
    """The value of the only option; None without it."""
    for name in options or {}:
        if name != "level":
            raise ConfigError(
                f"reset was given the option {name!r}; the only option is 'level', an "
                "ASCII picture."
            )
    return (options or {}).get("level")


def _fitting(picture: Any, shape: tuple[int, int]) -> Level:
    level = _parsed(picture)
    if level.walls.shape != shape:
        given, expected = (" x ".join(map(str, s)) for s in (level.walls.shape, shape))
        raise LevelError(
            f"The level is {given} cells but the environment was made for {expected}; "
            "make another environment with level=..."
        )
    return level


def _new_seed(generator: np.random.Generator) -> np.uint32:
    return generator.integers(2**32, dtype=np.uint32)


def _frame(world: KeysAndChests, mode: str | None, state: State, level: Level):
    return (world.text if mode == "ansi" else world.image)(state, level)


# --- one environment ------------------------------------------------------------------


class KeysAndChestsEnv(gymnasium.Env):
    """Keys and Chests, one episode at a time.

    The observation is binary, [h, w, 7]: walls, agent, keys, chests, flagged keys,
    owned chests, and the keys in hand in unary (row-major). Actions: 0 up, 1 left,
    2 down, 3 right, 4 stay. The reward is 1 for each chest opened. ``terminated``
    says that no further chest can be opened, ``truncated`` that the horizon was
    reached before that. ``info`` has the counts so far: ``keys_taken``,
    ``chests_opened``, ``keys_held``, ``excess_keys`` (keys taken beyond the number
    of chests in the level) and ``is_success`` (all openable chests are open).

    Args:
        split: "train" (few keys, many chests) or "deploy" (the other way round).
        level: an ASCII picture that every episode starts from; None draws levels.
        view: None for the planes above, from which the level can be read back
            (``malgen.worlds.keys_and_chests.KeysAndChests.level_from``); "agent" for
            agent-centered planes that hide nothing; an odd number for a crop of so
            many cells a side. Both leave out the agent's own plane.
        render_mode: None, "ansi" or "rgb_array".
        size: rows and columns, border included.
        num_keys: None for 3 (train) or 10 (deploy); at size 9, 2 or 6.
        num_chests: None for 10 (train) or 3 (deploy); at size 9, 4 or 2.
        layout: "braided", "tree", "blocks" or "open".
        horizon: steps until truncation; None for 128, or 64 at size 9.
        ends_on_completion: False lets the episode go on to the horizon.

    Raises:
        ConfigError: an argument that cannot be used.
        LevelError: a level that cannot exist.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium declares it
        "render_modes": list(RENDER_MODES),
        "render_fps": 8,
    }

    def __init__(
        self,
        split: str = "train",
        level: str | None = None,
        view: View = None,
        render_mode: str | None = None,
        size: int = 13,
        num_keys: int | None = None,
        num_chests: int | None = None,
        layout: str = "braided",
        horizon: int | None = None,
        ends_on_completion: bool = True,
    ):
        self.render_mode = _choice("render_mode", render_mode, (None, *RENDER_MODES))
        self._setting = _setting(
            split,
            level,
            view,
            size,
            num_keys,
            num_chests,
            layout,
            horizon,
            ends_on_completion,
        )
        self.observation_space = self._setting.space
        self.action_space = spaces.Discrete(NUM_ACTIONS)
        self._episode: _Episode | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: the same seed gives the same sequence of levels.
            options: ``{"level": picture}`` starts this one episode from a picture of
                the environment's size.
        """
        super().reset(seed=seed)
        setting = self._setting
        picture = _level_option(options)
        if picture is not None:
            level = _fitting(picture, setting.shape)
        elif setting.level is not None:
            level = setting.level
        else:
            assert setting.levels is not None  # one of the two is given
            level, solved = _draw(setting.levels, _new_seed(self.np_random))
            refuse_unsolved(setting.levels, np.asarray(solved))
        self._episode, outcome = _begin(
            setting.world, level, setting.horizon, view=setting.view
        )
        outcome = jax.device_get(outcome)
        return _observation(outcome), _info(outcome)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ContractError: not one of the five actions, or no episode was started.
        """
        if self._episode is None:
            raise ContractError("step was called before reset; call reset first.")
        value = np.asarray(action)
        if value.shape != () or not np.issubdtype(value.dtype, np.integer):
            raise ContractError(
                f"The action is {action!r}; give one whole number, {_listed_actions()}."
            )
        if not 0 <= value < NUM_ACTIONS:
            raise ContractError(f"The action is {value}; use {_listed_actions()}.")
        setting = self._setting
        self._episode, outcome = _advance(
            setting.world,
            self._episode,
            np.int32(value),
            setting.horizon,
            view=setting.view,
        )
        outcome = jax.device_get(outcome)
        return (
            _observation(outcome),
            float(outcome.reward),
            bool(outcome.terminated),
            bool(outcome.truncated),
            _info(outcome),
        )

    def render(self) -> str | np.ndarray | None:
        """The state as text or as an RGB picture, by ``render_mode``."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render was called without a render_mode; make the environment with "
                "render_mode='ansi' or 'rgb_array'."
            )
            return None
        if self._episode is None:
            raise ContractError("render was called before reset; call reset first.")
        episode = self._episode
        return _frame(
            self._setting.world, self.render_mode, episode.state, episode.level
        )

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """The keyboard for ``gymnasium.utils.play``: W A S D, and space to stay."""
        return {("w",): UP, ("a",): LEFT, ("s",): DOWN, ("d",): RIGHT, (" ",): STAY}


def _listed_actions() -> str:
    return ", ".join(f"{i} {name}" for i, name in enumerate(ACTIONS))


def _observation(outcome: _Outcome) -> np.ndarray:
    # astype copies: what the user gets is writable and is never touched again.
    return np.asarray(outcome.observation).astype(np.int8)


def _info(outcome: _Outcome) -> dict[str, Any]:
    return {name: np.asarray(getattr(outcome, name)).item() for name in _INFO}


# --- many environments ---------------------------------------------------------------


class KeysAndChestsVectorEnv(VectorEnv):
    """Keys and Chests, a batch of episodes advanced by one compiled call.

    Results equal those of ``gymnasium.vector.SyncVectorEnv`` over ``KeysAndChestsEnv``
    with the same arguments, seeds and autoreset mode.

    Args:
        num_envs: how many episodes run side by side.
        max_episode_steps: a second limit on the steps; the smaller one counts.
        autoreset_mode: "NextStep" (the step after the end resets) or "SameStep" (the
            step that ends an episode returns the next level's observation; the last
            one of the old level is ``final_obs`` in the infos).

    The other arguments are those of ``KeysAndChestsEnv``.

    Raises:
        ConfigError: an argument that cannot be used.
        LevelError: a level that cannot exist.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium declares it
        "render_modes": list(RENDER_MODES),
        "render_fps": 8,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        split: str = "train",
        level: str | None = None,
        view: View = None,
        render_mode: str | None = None,
        size: int = 13,
        num_keys: int | None = None,
        num_chests: int | None = None,
        layout: str = "braided",
        horizon: int | None = None,
        ends_on_completion: bool = True,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ):
        self.num_envs = _whole("num_envs", num_envs, 1)
        self.render_mode = _choice("render_mode", render_mode, (None, *RENDER_MODES))
        self._mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self._mode}
        self._setting = _setting(
            split,
            level,
            view,
            size,
            num_keys,
            num_chests,
            layout,
            horizon,
            ends_on_completion,
        )
        if max_episode_steps is not None:
            limit = _whole("max_episode_steps", max_episode_steps, 1)
            horizon = min(self._setting.horizon, limit)
            self._setting = self._setting._replace(horizon=horizon)
        self.single_observation_space = self._setting.space
        self.observation_space = batch_space(self._setting.space, self.num_envs)
        self.single_action_space = spaces.Discrete(NUM_ACTIONS)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._episode: _Episode | None = None
        self._ended = np.zeros(self.num_envs, bool)
        # One level is drawn ahead for each environment, all in one call; a level is
        # drawn again when it was used, so most resets cost no drawing at all.
        self._generators = [seeding.np_random()[0] for _ in range(self.num_envs)]
        self._seeds = np.zeros(self.num_envs, np.uint32)
        self._used = np.ones(self.num_envs, bool)
        self._supply: Level | None = None

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: environment i gets seed + i, or the i-th of a list.
            options: ``{"level": picture}`` for all, or a list of one picture each.
        """
        setting = self._setting
        pictures = _level_option(options)
        self._seed_generators(seed)
        if pictures is not None:
            level = self._stacked(pictures)
        else:
            level = self._next_levels(np.ones(self.num_envs, bool))
        self._episode, outcome = _begin_many(
            setting.world, level, setting.horizon, view=setting.view
        )
        self._ended = np.zeros(self.num_envs, bool)
        outcome = jax.device_get(outcome)
        return _observation(outcome), self._infos(outcome)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action in every environment.

        Raises:
            ContractError: not one action per environment, not one of the five, or no
                episode was started.
        """
        if self._episode is None:
            raise ContractError("step was called before reset; call reset first.")
        setting = self._setting
        episode, outcome = _advance_many(
            setting.world,
            self._episode,
            self._checked(actions),
            setting.horizon,
            view=setting.view,
        )
        if self._mode is AutoresetMode.NEXT_STEP and self._ended.any():
            # These were over before this step: their action only starts a level.
            episode, outcome = self._renew(episode, outcome, self._ended)
        told = jax.device_get(outcome)
        self._ended = told.terminated | told.truncated
        final: dict[str, Any] = {}
        now = told
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            final = self._final(told, np.flatnonzero(self._ended))
            episode, outcome = self._renew(episode, outcome, self._ended)
            now = jax.device_get(outcome)
        self._episode = episode
        return (
            _observation(now),
            told.reward.astype(np.float64),
            np.array(told.terminated),
            np.array(told.truncated),
            {**final, **self._infos(now)},
        )

    def render(self) -> tuple[str | np.ndarray, ...] | None:
        """One frame for each environment, by ``render_mode``."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render was called without a render_mode; make the environment with "
                "render_mode='ansi' or 'rgb_array'."
            )
            return None
        if self._episode is None:
            raise ContractError("render was called before reset; call reset first.")
        episodes = jax.device_get(self._episode)
        each = (
            jax.tree.map(lambda x, i=i: x[i], episodes) for i in range(self.num_envs)
        )
        return tuple(
            _frame(self._setting.world, self.render_mode, one.state, one.level)
            for one in each
        )

    def _seed_generators(self, seed: Any) -> None:
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(
                f"reset was given {len(seeds)} seeds for {self.num_envs} environments; "
                "give one for each, or a single number."
            )
        for i, one in enumerate(seeds):
            if one is not None:
                self._generators[i] = seeding.np_random(one)[0]
                self._used[i] = True

    def _stacked(self, pictures: Any) -> Level:
        if isinstance(pictures, str):
            pictures = [pictures] * self.num_envs
        if len(pictures) != self.num_envs:
            raise LevelError(
                f"{len(pictures)} levels were given for {self.num_envs} environments; "
                "give one for each, or a single picture."
            )
        levels = [_fitting(picture, self._setting.shape) for picture in pictures]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)

    def _next_levels(self, wanted: Bool[np.ndarray, " b"]) -> Level:
        """Levels for all environments; those of ``wanted`` count as used from now."""
        if self._setting.level is not None:
            if self._supply is None:
                self._supply = jax.tree.map(
                    lambda leaf: jnp.stack([leaf] * self.num_envs), self._setting.level
                )
            return self._supply
        if self._supply is None or (wanted & self._used).any():
            assert self._setting.levels is not None  # one of the two is given
            for i in np.flatnonzero(self._used):
                self._seeds[i] = _new_seed(self._generators[i])
            # Unused levels are drawn once more from the seeds that they have.
            self._supply, solved = _draw_many(self._setting.levels, self._seeds)
            refuse_unsolved(self._setting.levels, np.asarray(solved))
            self._used[:] = False
        self._used |= wanted
        return self._supply

    def _renew(self, episode, outcome, which):
        return _renew_many(
            self._setting.world,
            episode,
            outcome,
            which,
            self._next_levels(which),
            self._setting.horizon,
            view=self._setting.view,
        )

    def _checked(self, actions: Any) -> Int[np.ndarray, " b"]:
        values = np.asarray(actions)
        if values.shape != (self.num_envs,) or not np.issubdtype(
            values.dtype, np.integer
        ):
            raise ContractError(
                f"The actions have shape {list(values.shape)} and type {values.dtype}; "
                f"give {self.num_envs} whole numbers, one for each environment."
            )
        wrong = values[(values < 0) | (values >= NUM_ACTIONS)]
        if wrong.size:
            raise ContractError(f"An action is {wrong[0]}; use {_listed_actions()}.")
        return values.astype(np.int32)

    def _infos(self, outcome: _Outcome) -> dict[str, Any]:
        """Gymnasium's batched info: an array and a mask under ``_name`` each."""
        infos: dict[str, Any] = {}
        for name in _INFO:
            values = np.asarray(getattr(outcome, name))
            infos[name] = values.astype(bool if values.dtype == bool else int)
            infos[f"_{name}"] = np.ones(self.num_envs, bool)
        return infos

    def _final(self, outcome: _Outcome, ended: Int[np.ndarray, " n"]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for i in ended:
            one = jax.tree.map(lambda leaf, i=i: leaf[i], outcome)
            final = {"final_obs": _observation(one), "final_info": _info(one)}
            infos = self._add_info(infos, final, int(i))
        return infos


def _autoreset_mode(mode: Any) -> AutoresetMode:
    offered = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
    for one in offered:
        if mode is one or mode == one.value:
            return one
    raise ConfigError(f"autoreset_mode is {mode!r}; use 'NextStep' or 'SameStep'.")
