"""Negative controls: each law must catch the part that was broken to break it."""

import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.errors import ContractError
from malgen.grid import text
from malgen.shifts import SHIFTS, Counts, Shift
from malgen.testing import check_objective, check_policy, check_shift, check_world
from malgen.types import Deployment, HostPolicy, Objective, Policy
from malgen.worlds.keys_and_chests import (
    CHESTS,
    EXCESS,
    PLANES,
    KeysAndChests,
    KeysAndChestsLevels,
    parse_level,
)

KEY = jax.random.key(0)
LEVELS = jax.tree.map(
    lambda *leaves: jnp.stack(leaves),
    *map(
        parse_level,
        (
            "#######\n#@k.c.#\n#.#.#.#\n#k.C.K#\n#######",
            "#######\n#.kcc.#\n#.#k#.#\n#C..@K#\n#######",
        ),
    ),
)


class Eager(KeysAndChests):
    """Does something else when it is not compiled."""

    def step(self, key, state, action, level):
        if not isinstance(state.held, jax.core.Tracer):
            action = jnp.zeros_like(action)
        return super().step(key, state, action, level)


class Drifting(KeysAndChests):
    """The count of keys becomes a floating-point number."""

    def step(self, key, state, action, level):
        state = super().step(key, state, action, level)
        return eqx.tree_at(lambda s: s.held, state, state.held * 1.0)


class Ghost(KeysAndChests):
    """Walks through walls (it still stays on the board)."""

    def step(self, key, state, action, level):
        walls = jnp.zeros_like(level.walls)
        walls = walls.at[0].set(True).at[-1].set(True)
        walls = walls.at[:, 0].set(True).at[:, -1].set(True)
        ghostly = eqx.tree_at(lambda one: one.walls, level, walls)
        return super().step(key, state, action, ghostly)


class Forgetful(KeysAndChests):
    """Does not show the last chest."""

    def observe(self, state, level):
        planes = super().observe(state, level)
        chests = planes[:, :, 3] & (jnp.sum(state.chests) > 1)
        return planes.at[:, :, 3].set(chests)


class Generous(KeysAndChests):
    """One key on the floor is two in the hand."""

    def step(self, key, state, action, level):
        following = super().step(key, state, action, level)
        gained = jnp.maximum(following.held - state.held, 0)
        return eqx.tree_at(lambda s: s.held, following, following.held + gained)


class Respawning(KeysAndChests):
    """A key that was used up lies on the floor again."""

    def step(self, key, state, action, level):
        following = super().step(key, state, action, level)
        opened = jnp.sum(following.chests) < jnp.sum(state.chests)
        keys = jnp.where(opened, level.keys, following.keys)
        return eqx.tree_at(lambda s: s.keys, following, keys)


class Restless(KeysAndChests):
    """Walks on after the end."""

    def step(self, key, state, action, level):
        running = KeysAndChests(ends_on_completion=False)
        return running.step(key, state, action, level)


class Reviving(KeysAndChests):
    """The end is forgotten when the agent stands in the first inner row."""

    def is_terminal(self, state, level):
        lucky = (state.position[0] == 1) & (jnp.sum(state.keys) % 2 == 0)
        return super().is_terminal(state, level) & ~lucky

    def step(self, key, state, action, level):
        running = KeysAndChests(ends_on_completion=False)
        return running.step(key, state, action, level)


class Crooked(KeysAndChests):
    """Up goes left and left goes up."""

    def step(self, key, state, action, level):
        swapped = jnp.array([1, 0, 2, 3, 4])[action]
        return super().step(key, state, swapped, level)


class Windy(KeysAndChests):
    """Whoever stays is blown upwards."""

    def step(self, key, state, action, level):
        return super().step(key, state, jnp.where(action == 4, 0, action), level)


class Vague(KeysAndChests):
    """Draws trapped keys like all others."""

    def text(self, state, level):
        return super().text(state, level).replace("K", "k")


BROKEN_WORLDS = [
    (Eager(), "W1"),
    (Drifting(), "W2"),
    (Ghost(), "W3"),
    (Forgetful(), "W4"),
    (KeysAndChests(inventory_visible=False), "W4"),
    (Generous(), "W5"),
    (Respawning(), "W5"),
    (Restless(), "W6"),
    (Reviving(), "W6"),
    (Crooked(), "W7"),
    (Windy(), "W7"),
    (Vague(), "W9"),
]


def assert_caught(law, check, *args, **kwargs):
    with pytest.raises(ContractError) as caught:
        check(*args, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{law} "), message
    assert "\n" not in message
    assert message.endswith((".", "]")) or "Error:" in message


@pytest.mark.parametrize(
    "world, law",
    BROKEN_WORLDS,
    ids=[f"{w}-{type(v).__name__}" for v, w in BROKEN_WORLDS],
)
def test_a_broken_world_is_caught(world, law):
    parse = parse_level
    assert_caught(law, check_world, world, LEVELS, KEY, num_steps=96, parse=parse)


def test_a_world_that_fails_is_a_broken_contract():
    class Failing(KeysAndChests):
        def step(self, key, state, action, level):
            raise ValueError("no way")

    with pytest.raises(
        ContractError, match=r"W2 .*: step failed with ValueError: no way"
    ):
        check_world(Failing(), LEVELS, KEY)


def test_worlds_are_checked_on_drawn_levels_too():
    levels = KeysAndChestsLevels(5, 7, layout="open", num_keys=2, num_chests=2)
    laws = check_world(KeysAndChests(), levels, KEY, num_levels=2, num_steps=96)
    assert len(laws) == 8


# --- policies -------------------------------------------------------------------------


class Counting(Policy):
    """Prefers actions in turn; the base of the broken ones below."""

    weights: jax.Array = eqx.field(default_factory=lambda: jnp.arange(5.0))

    def initial_carry(self):
        return jnp.zeros((), jnp.int32)

    def __call__(self, key, observation, carry):
        return jnp.roll(self.weights, carry), carry + 1


class Short(Counting):
    def __call__(self, key, observation, carry):
        return self.weights[:4], carry


class Whole(Counting):
    def __call__(self, key, observation, carry):
        return jnp.arange(5), carry


class Infinite(Counting):
    def __call__(self, key, observation, carry):
        return self.weights.at[0].set(
            jnp.where(observation[1, 1, 1], -jnp.inf, 0)
        ), carry


class Undecided(Counting):
    def __call__(self, key, observation, carry):
        eager = not isinstance(observation, jax.core.Tracer)
        return self.weights + eager, carry


class Growing(Counting):
    def __call__(self, key, observation, carry):
        return self.weights, jnp.append(carry, carry)


class Moody(Counting):
    def __call__(self, key, observation, carry):
        eager = not isinstance(observation, jax.core.Tracer)
        noise = np.random.default_rng().uniform(0, 1e-5) if eager else 0.0
        return self.weights + noise, carry


@pytest.mark.parametrize(
    "policy, law",
    [
        (Short(), "P1"),
        (Whole(), "P1"),
        (Infinite(), "P2"),
        (Undecided(), "P3"),
        (Growing(), "P4"),
        (Moody(), "P5"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_policy_is_caught(policy, law):
    assert_caught(law, check_policy, policy, KeysAndChests(), LEVELS, KEY)


def test_a_sound_policy_passes():
    laws = check_policy(Counting(), KeysAndChests(), LEVELS, KEY)
    assert [law[:2] for law in laws] == ["P1", "P2", "P3", "P4", "P5"]


class Host(HostPolicy):
    def __init__(self, logits):
        self.logits = logits

    def act(self, rng, observations, carry):
        return self.logits(rng, len(observations)), carry


@pytest.mark.parametrize(
    "logits, law",
    [
        (lambda rng, b: np.zeros((b, 4)), "P1"),
        (lambda rng, b: np.full((b, 5), np.nan), "P2"),
        (lambda rng, b: np.random.default_rng().normal(size=(b, 5)), "P5"),
    ],
)
def test_a_broken_host_policy_is_caught(logits, law):
    assert_caught(law, check_policy, Host(logits), KeysAndChests(), LEVELS, KEY)


def test_a_sound_host_policy_passes():
    policy = Host(lambda rng, b: rng.normal(size=(b, 5)))
    laws = check_policy(policy, KeysAndChests(), LEVELS, KEY)
    assert [law[:2] for law in laws] == ["P1", "P2", "P5"]


# --- objectives -----------------------------------------------------------------------


def _per_axis(state, action, next_state, level):
    return (next_state.position - state.position).astype(jnp.float32)


def _logarithm(state, action, next_state, level):
    return jnp.log(next_state.held.astype(jnp.float32))


def _wage(state, action, next_state, level):
    return jnp.ones(())


def _northward(state, action, next_state, level):
    return (state.position[0] - next_state.position[0]).astype(jnp.float32)


def _hidden_eagerness(state, action, next_state, level):
    compiled = isinstance(state.held, jax.core.Tracer)
    return CHESTS(state, action, next_state, level) * (1.0 if compiled else 2.0) + (
        0.0 if compiled else 1.0
    )


def _refund(state, action, next_state, level):
    return -EXCESS(state, action, next_state, level) - CHESTS(
        state, action, next_state, level
    )


@pytest.mark.parametrize(
    "reward, law",
    [
        (_per_axis, "O1"),
        (_logarithm, "O2"),
        (_wage, "O3"),
        (_northward, "O4"),
        (_hidden_eagerness, "O5"),
        (_refund, "O6"),
    ],
)
def test_a_broken_objective_is_caught(reward, law):
    objective = Objective(reward.__name__, reward)
    harm = law == "O6"
    assert_caught(
        law, check_objective, objective, KeysAndChests(), LEVELS, KEY, harm=harm
    )


# --- shifts ---------------------------------------------------------------------------


SMALL = KeysAndChestsLevels(5, 7, layout="open", num_keys=1, num_chests=2)
DEPLOYMENT = Deployment(KeysAndChests(), SMALL, CHESTS, EXCESS, horizon=64)


def changed(deployment, **fields):
    kept = {name: getattr(deployment, name) for name in deployment.__dataclass_fields__}
    return Deployment(**(kept | fields))


class Walled(KeysAndChestsLevels):
    """Levels in which nothing can be reached."""

    def sample(self, key):
        level = super().sample(key)
        walls = jnp.ones_like(level.walls).at[tuple(level.start)].set(False)
        walls = walls & ~(level.keys | level.chests)
        return eqx.tree_at(lambda one: one.walls, level, walls)


def _dearer(deployment, strength, far):
    return changed(deployment, price=deployment.price + 1.0)


def _larger(deployment, strength, far):
    if strength == 0:
        return deployment
    return changed(deployment, levels=KeysAndChestsLevels(7, 7, layout="open"))


def _walled(deployment, strength, far):
    if strength == 0:
        return deployment
    levels = Walled(5, 7, layout="open", num_keys=1, num_chests=2)
    return changed(deployment, levels=levels)


def _no_time(deployment, strength, far):
    return deployment if strength == 0 else changed(deployment, horizon=0)


def _same(deployment, strength, far):
    return deployment


def shift(apply, **fields) -> Shift:
    sound = {"name": "a-shift", "about": "does it", "starts_from": "training"}
    return Shift(apply=apply, expected="", **(sound | fields))


@pytest.mark.parametrize(
    "broken, law",
    [
        (shift(_dearer), "S1"),
        (shift(lambda deployment, strength, far: None), "S1"),
        (shift(_larger), "S2"),
        (shift(_walled), "S3"),
        (shift(_no_time), "S3"),
        (shift(_same, name="A Shift"), "S4"),
        (shift(_same, about=""), "S4"),
    ],
)
def test_a_broken_shift_is_caught(broken, law):
    assert_caught(law, check_shift, broken, DEPLOYMENT, KEY)


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_keeps_its_laws(name):
    far = Counts(keys=4, chests=1)
    start = DEPLOYMENT
    if SHIFTS[name].starts_from == "deployment":
        levels = replace(SMALL, num_keys=jnp.asarray(4), num_chests=jnp.asarray(1))
        start = changed(DEPLOYMENT, levels=levels)
    laws = check_shift(SHIFTS[name], start, KEY, far=far)
    assert [law[:2] for law in laws] == ["S1", "S2", "S3", "S4"]


def test_planes_are_named():
    assert len(PLANES) == KeysAndChests().observe(*_first()).shape[-1]
    assert set(text.LEGEND.values()) >= {"wall", "agent", "key", "chest"}


def _first():
    level = jax.tree.map(lambda leaf: leaf[0], LEVELS)
    return KeysAndChests().reset(KEY, level), level


def test_laws_are_named_once():
    """Every law in the docs has its own number."""
    from malgen.testing import objectives, policies, shifts, worlds

    names = [
        name
        for module in (worlds, policies, objectives, shifts)
        for name in vars(module)
        if re.fullmatch(r"[WPOS]\d", name)
    ]
    assert len(names) == len(set(names)) == 8 + 5 + 6 + 4
