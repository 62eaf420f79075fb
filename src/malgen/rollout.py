"""The only loop over a world: policy x levels -> recorded episodes."""

from functools import lru_cache, partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from malgen.errors import ContractError, ForeignError, MalgenError, first_line
from malgen.grid.moves import NUM_ACTIONS, STAY
from malgen.types import HostPolicy, Objective, Policy, Rollout, World


def collect(
    key: Key[Array, ""],
    world: World,
    policy: Policy | HostPolicy,
    level,
    horizon: int,
) -> Rollout:
    """Play one episode on each level.

    Args:
        key: consumed; episode i uses ``fold_in(key, i)``, so it does not depend on
            which other levels are in the batch (JAX policies).
        world: the dynamics.
        policy: inside JAX (one compiled scan) or on the host (one call per step).
        level: leaves [b, ...].
        horizon: steps after which an episode is truncated, >= 1.

    Returns:
        The recorded episodes; actions are sampled from the policy's logits.

    Raises:
        ContractError: logits that are NaN, infinite, or of the wrong shape.
    """
    if isinstance(policy, HostPolicy):
        return _collect_on_host(key, world, policy, level, horizon)
    rollout = _collect_in_jax(key, world, policy, level, horizon)
    _check_finite(np.asarray(rollout.logits), f"The policy {type(policy).__name__}")
    return rollout


def sharp_logits(action: Int[Array, ""]) -> Float[Array, " a"]:
    """Finite logits that make every other action practically impossible."""
    return 100.0 * jax.nn.one_hot(action, NUM_ACTIONS)


def replay(
    key: Key[Array, ""], world: World, actions: Int[np.ndarray, "b t"], level
) -> Rollout:
    """Play fixed actions on each level: what a plan really brings about."""
    return _replay_in_jax(key, world, jnp.asarray(actions, jnp.int32), level)


@eqx.filter_jit
def _replay_in_jax(key, world, actions, level):
    # as ``collect`` would with a policy that is sure of each action, without looking
    def episode(key, actions, level):
        key_reset, key_steps = jax.random.split(key)
        keys = jax.random.split(key_steps, actions.shape[0])

        def step(state, draws):
            key, action = draws
            active = ~world.is_terminal(state, level)
            following = world.step(jax.random.split(key, 3)[2], state, action, level)
            return following, (state, active)

        start = world.reset(key_reset, level)
        last, (states, active) = jax.lax.scan(step, start, (keys, actions))
        return _recorded(level, states, last, actions, sharp_logits(actions), active)

    number = jax.tree.leaves(level)[0].shape[0]
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(number))
    return jax.vmap(episode)(keys, actions, level)


def _recorded(level, states, last, actions, logits, active) -> Rollout:
    states = jax.tree.map(lambda s, end: jnp.concatenate([s, end[None]]), states, last)
    return Rollout(level, states, actions, logits, active)


class _Luck(NamedTuple):
    """Everything random about b episodes of t steps."""

    reset: Key[Array, " b"]
    policy: Key[Array, "b t"]
    action: Key[Array, "b t"]
    world: Key[Array, "b t"]
    noise: Float[Array, "b t a"]


# A program of its own, because it is the same for every policy and takes a good part
# of the time to compile.
@eqx.filter_jit
def _luck(key, number: int, horizon: int, num_actions: int) -> _Luck:
    def episode(i):
        key_reset, key_steps = jax.random.split(jax.random.fold_in(key, i))
        each = jax.vmap(lambda key: jax.random.split(key, 3))(
            jax.random.split(key_steps, horizon)
        )
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (num_actions,)))(each[:, 1])
        return _Luck(key_reset, each[:, 0], each[:, 1], each[:, 2], noise)

    return jax.vmap(episode)(jnp.arange(number))


def _collect_in_jax(key, world, policy, level, horizon):
    number = jax.tree.leaves(level)[0].shape[0]
    luck = _luck(key, number, horizon, world.num_actions)
    return _play(luck, world, policy, level)


@eqx.filter_jit
def _play(luck, world, policy, level):
    def episode(luck, level):
        state = world.reset(luck.reset, level)

        def step(carry, luck):
            state, memory = carry
            active = ~world.is_terminal(state, level)
            observation = world.observe(state, level)
            logits, memory = _ask(policy, luck.policy, observation, memory, world)
            action = _sampled(luck, logits)
            following = world.step(luck.world, state, action, level)
            return (following, memory), (state, action, logits, active)

        start = (state, policy.initial_carry())
        (last, _), (states, actions, logits, active) = jax.lax.scan(
            step, start, luck._replace(reset=None)
        )
        return _recorded(level, states, last, actions, logits, active)

    return jax.vmap(episode)(luck, level)


def _sampled(luck: _Luck, logits: Float[Array, " a"]) -> Int[Array, ""]:
    """``jax.random.categorical``, with noise that was drawn before."""
    if jnp.result_type(logits) != luck.noise.dtype:
        return jax.random.categorical(luck.action, logits).astype(jnp.int32)
    return jnp.argmax(luck.noise + logits).astype(jnp.int32)


def _ask(policy, key, observation, carry, world):
    """Call a policy; what it does wrong while being traced is told as its own."""
    try:
        logits, carry = policy(key, observation, carry)
    except MalgenError:
        raise
    except Exception as error:
        raise ForeignError(
            f"The policy {type(policy).__name__} raised {type(error).__name__}: "
            f"{first_line(error)}."
        ) from error
    if jnp.shape(logits) != (world.num_actions,):
        raise ContractError(
            f"The policy {type(policy).__name__} returned logits of shape "
            f"{list(jnp.shape(logits))}, expected [{world.num_actions}]; return one "
            "number per action."
        )
    return logits, carry


@partial(jax.jit, static_argnums=0)
def _begin(static, dynamic, keys, level):
    world = eqx.combine(static, dynamic)
    state = jax.vmap(world.reset)(keys, level)
    return state, *_look(world, state, level)


# One program for each kind of world, looked up once per rollout, from and to leaves
# alone: to hash a world and to take a state apart costs as much as a step.
@lru_cache(maxsize=64)
def _advance(static, fixed_tree, state_tree):
    @jax.jit
    def advance(fixed, state, action):
        dynamic, keys, level = jax.tree.unflatten(fixed_tree, fixed)
        world = eqx.combine(static, dynamic)
        following = jax.vmap(world.step)(
            keys, jax.tree.unflatten(state_tree, state), action, level
        )
        return jax.tree.leaves(following), *_look(world, following, level)

    return advance


def _look(world, state, level):
    return jax.vmap(world.observe)(state, level), jax.vmap(world.is_terminal)(
        state, level
    )


def _collect_on_host(key, world, policy, level, horizon):
    number = jax.tree.leaves(level)[0].shape[0]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    keys = jax.random.split(key, number)
    dynamic, static = eqx.partition(world, eqx.is_array)
    state, observation, ended = _begin(static, dynamic, keys, level)
    state, state_tree = jax.tree.flatten(state)
    fixed, fixed_tree = jax.tree.flatten((dynamic, keys, level))
    advance = _advance(static, fixed_tree, state_tree)
    going = ~np.asarray(ended)
    carry = policy.initial_carry(number)
    states, actions, rows, active = [state], [], [], []
    for step in range(horizon):
        try:
            logits, carry = _ask_on_host(policy, rng, observation, carry, going, world)
        except MalgenError as error:
            if error.row is None:
                raise
            asked = np.flatnonzero(going) if policy.memoryless else np.arange(number)
            where = f"in step {step} on level {asked[error.row]} of {number}"
            raise type(error)(f"{str(error).rstrip('.')}, {where}.") from error
        # rows that are sure of an action need no noise
        noise = rng.gumbel(size=logits.shape) if policy.offers_logits else 0.0
        action = np.argmax(logits + noise, axis=1).astype(np.int32)
        state, observation, ended = advance(fixed, state, action)
        states.append(state)
        actions.append(action)
        rows.append(logits)
        active.append(going)
        going = ~np.asarray(ended)
        if not going.any():
            break
    missing = horizon - len(actions)
    states += [state] * missing
    actions += [np.full(number, STAY, np.int32)] * missing
    rows += [np.zeros((number, world.num_actions), np.float32)] * missing
    active += [np.zeros(number, bool)] * missing

    # joined by NumPy: JAX would take the hundreds of small arrays one by one
    def joined(leaves):
        return jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves], axis=1))

    return Rollout(
        level,
        jax.tree.unflatten(
            state_tree, [joined(each) for each in zip(*states, strict=True)]
        ),
        joined(actions),
        joined(rows),
        joined(active),
    )


def _ask_on_host(policy, rng, observation, carry, going, world):
    """Logits of every level; those that have ended are not asked about if possible."""
    seen = np.asarray(observation)
    some = policy.memoryless and not going.all()
    if some:
        seen = seen[going]
    logits, carry = policy.act(rng, seen, carry)
    logits = np.asarray(logits, np.float32)
    if logits.shape != (len(seen), world.num_actions):
        raise ContractError(
            f"The policy {policy.name!r} returned logits of shape "
            f"{list(logits.shape)}, expected [{len(seen)}, {world.num_actions}]; "
            "return one number per level and action."
        )
    _check_finite(logits, f"The policy {policy.name!r}")
    if some:
        whole = np.zeros((len(going), world.num_actions), np.float32)
        whole[going] = logits
        logits = whole
    return logits, carry


def _check_finite(logits, who):
    if not np.isfinite(logits).all():
        raise ContractError(
            f"{who} returned {'NaN' if np.isnan(logits).any() else 'an infinity'}; "
            "return finite logits (check the weights and the input scaling)."
        )


@eqx.filter_jit
def rewards(objective: Objective, rollout: Rollout) -> Float[Array, "b t"]:
    """The objective's reward of every recorded transition; 0 after the end."""

    def one(states, actions, level, active):
        now = jax.tree.map(lambda s: s[:-1], states)
        following = jax.tree.map(lambda s: s[1:], states)
        values = jax.vmap(objective, in_axes=(0, 0, 0, None))(
            now, actions, following, level
        )
        return jnp.where(active, values, 0.0)

    return jax.vmap(one)(rollout.states, rollout.actions, rollout.level, rollout.active)


def returns(
    objective: Objective, rollout: Rollout, discount: float = 1.0
) -> Float[np.ndarray, " b"]:
    """Discounted return of each episode; the reward of step t counts discount**t.

    Args:
        objective: what is scored.
        rollout: b episodes of t steps.
        discount: in (0, 1].

    Returns:
        Float64[b], objective units.

    Source: Sutton & Barto 2018, eq. 3.8.
    """
    values = np.asarray(rewards(objective, rollout), np.float64)
    return values @ discount ** np.arange(values.shape[1])
