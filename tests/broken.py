"""Policies and environments that are broken at random, reproducibly from a seed.

The world is that of ``button``; one fault of a policy and, or, one of the environment
strikes at a random episode and step.
"""

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv

from button import Button, collector, presser, scenario, waiter

HANG = 30.0
"""Seconds; the audits allow far less."""


@dataclass
class Fault:
    """What is wrong and from which call on (counted over the whole audit)."""

    kind: str
    call: int
    calls: int = 0

    def strikes(self) -> bool:
        self.calls += 1
        return self.calls > self.call


def hang() -> None:
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        pass


def swallow() -> None:
    """Catches whatever can be caught, and goes on."""
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            time.sleep(HANG)


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no words")


def leave() -> None:
    raise SystemExit(3)


def raise_long() -> None:
    raise ValueError("many\nlines " * 100)


ANSWERS: dict[str, Any] = {
    "raises": lambda: 1 / 0,
    "raises a long story": raise_long,
    "leaves": leave,
    "hangs": hang,
    "sleeps and swallows": swallow,
    "NaN": lambda: float("nan"),
    "infinity": lambda: np.inf,
    "None": lambda: None,
    "text": lambda: "left",
    "bytes": lambda: b"\x00",
    "out of range": lambda: 3,
    "negative": lambda: -1,
    "half": lambda: 0.5,
    "huge": lambda: 10**30,
    "array": lambda: np.zeros((2, 2)),
    "nothing": lambda: np.zeros(0),
    "ragged": lambda: [[1], [1, 2]],
    "complex": lambda: 1j,
    "object": object,
    "unprintable": Unprintable,
    "dictionary": lambda: {"action": 1},
    "itself": lambda: collector,
    "NaN logits": lambda: np.full(3, np.nan),
}


def policy(kind: str, call: int):
    """Acts well until its fault strikes."""
    fault = Fault(kind, call)
    act = (collector, presser, waiter)[call % 3]

    def broken(observation):
        return ANSWERS[kind]() if fault.strikes() else act(observation)

    return broken


STEPS: dict[str, Any] = {
    "reward NaN": lambda s: (s[0], np.nan, *s[2:]),
    "reward text": lambda s: (s[0], "one", *s[2:]),
    "reward None": lambda s: (s[0], None, *s[2:]),
    "reward huge": lambda s: (s[0], 1e300, *s[2:]),
    "reward array": lambda s: (s[0], np.zeros(2), *s[2:]),
    "key missing": lambda s: (*s[:4], {}),
    "no info": lambda s: (*s[:4], None),
    "harm NaN": lambda s: (*s[:4], s[4] | {"hurt": np.nan}),
    "harm negative": lambda s: (*s[:4], s[4] | {"hurt": -1.0}),
    "harm text": lambda s: (*s[:4], s[4] | {"hurt": "much"}),
    "harm beyond bounds": lambda s: (*s[:4], s[4] | {"hurt": 1e6}),
    "observation NaN": lambda s: (s[0] * np.nan, *s[1:]),
    "observation longer": lambda s: (np.zeros(5, np.float32), *s[1:]),
    "observation None": lambda s: (None, *s[1:]),
    "observation text": lambda s: ("wall", *s[1:]),
    "four values": lambda s: s[:4],
    "nothing": lambda s: None,
    "terminated text": lambda s: (s[0], s[1], "no", *s[3:]),
    "raises": lambda s: 1 / 0,
    "leaves": lambda s: leave(),
    "hangs": lambda s: hang(),
    "sleeps and swallows": lambda s: swallow(),
    "never ends": lambda s: (s[0], 0.0, False, False, s[4]),
}
RESETS: dict[str, Any] = {
    "reset raises": lambda s: 1 / 0,
    "reset without info": lambda s: s[0],
    "reset of another shape": lambda s: (np.zeros(7, np.float32), s[1]),
    "reset None": lambda s: None,
    "reset hangs": lambda s: hang(),
    "reset leaves": lambda s: leave(),
}
ENVIRONMENTS = (*STEPS, *RESETS, "cannot be made", "another space", "close raises")


class Broken(Button):
    """A button world with one fault."""

    def __init__(self, deployed: bool, fault: Fault):
        super().__init__(deployed=deployed)
        self.fault = fault
        if fault.kind == "cannot be made" and fault.strikes():
            raise RuntimeError("no display")
        if fault.kind == "another space" and fault.strikes():
            self.action_space = gymnasium.spaces.Discrete(4)

    def step(self, action):
        made = super().step(action)
        spoil = STEPS.get(self.fault.kind)
        return spoil(made) if spoil and self.fault.strikes() else made

    def reset(self, **given):
        made = super().reset(**given)
        spoil = RESETS.get(self.fault.kind)
        return spoil(made) if spoil and self.fault.strikes() else made

    def close(self):
        if self.fault.kind == "close raises":
            raise RuntimeError("already closed")


def broken_scenario(kind: str, call: int, deployed: bool, several: bool):
    """The button scenario with a fault in one of its two settings."""
    fault = Fault(kind, call)

    def one():
        return Broken(deployed, fault)

    def make():
        return SyncVectorEnv([one] * 4) if several else one()

    return scenario(**{"deploy" if deployed else "train": make})
