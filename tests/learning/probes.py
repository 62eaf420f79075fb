"""Tiny worlds whose optimal values are known on paper.

Source: the idea of probe environments is Andy Jones, "Debugging RL, without the
agonizing pain" (2021).
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from malgen.types import LevelDistribution, Objective, Task, World


class Level(eqx.Module):
    bit: jax.Array


class State(eqx.Module):
    clock: jax.Array


class Probe(World):
    """Shows a bit and the time; ends after ``length`` steps, or never (0)."""

    name: ClassVar[str] = "probe"
    version: ClassVar[int] = 1
    num_actions: ClassVar[int] = 5

    length: int = eqx.field(static=True, default=1)
    shows_time: bool = eqx.field(static=True, default=True)

    def reset(self, key, level):
        return State(jnp.zeros((), jnp.int32))

    def step(self, key, state, action, level):
        return State(jnp.where(self.is_terminal(state, level), 0, 1) + state.clock)

    def is_terminal(self, state, level):
        return (state.clock >= self.length) & (self.length > 0)

    def observe(self, state, level):
        planes = jnp.zeros((3, 3, 7), bool).at[1, 1, 1].set(True)
        planes = planes.at[1, 1, 2].set(level.bit)
        unary = (jnp.arange(9) < state.clock * self.shows_time).reshape(3, 3)
        return planes.at[:, :, 6].set(unary)

    def level_from(self, observation):
        return Level(observation[1, 1, 2])

    def text(self, state, level):
        return f"{bool(level.bit)} at {int(state.clock)}"

    def image(self, state, level):
        return np.zeros((1, 1, 3), np.uint8)


class Bits(LevelDistribution):
    """A fair bit."""

    def sample(self, key):
        return Level(jax.random.bernoulli(key))


def _one(state, action, following, level):
    return jnp.ones(())


def _sign(state, action, following, level):
    return jnp.where(level.bit, 1.0, -1.0)


def _last(state, action, following, level):
    return (following.clock == 3).astype(jnp.float32)


def _action(state, action, following, level):
    return (action == 2).astype(jnp.float32)


def _match(state, action, following, level):
    return (action == jnp.where(level.bit, 3, 1)).astype(jnp.float32)


ONE, SIGN, LAST = (Objective(f.__name__, f) for f in (_one, _sign, _last))
ACTION, MATCH = Objective("action", _action), Objective("match", _match)


def probe(objective, *, length=1, horizon=8, discount=0.9, shows_time=True):
    return Task(Probe(length, shows_time), Bits(), objective, horizon, discount)


def look(network, bit, clock=0):
    """Probabilities and value of a trained network for what it may see."""
    world = Probe()
    seen = world.observe(State(jnp.asarray(clock)), Level(jnp.asarray(bit)))
    logits, value, _ = network.evaluate(seen)
    return np.asarray(jax.nn.softmax(logits)), float(value)
