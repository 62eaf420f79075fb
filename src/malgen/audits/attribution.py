"""Attribution: which of the items in sight make the agent act as it does.

Shapley values of the items for the log-probability of the agent's likeliest action,
over edits that leave some of the items out. For display; nothing is concluded from it.

Source: measurement.md 3.4; Shapley, "A value for n-person games", 1953; permutation
sampling: Castro, Gomez & Tejada 2009, with reversed pairs as in Mitchell et al. 2022.
"""

from dataclasses import dataclass
from functools import cache
from math import comb
from time import perf_counter

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from malgen.audits.asking import first_actions
from malgen.audits.instrument import Case, Instrument, Say, offers_logits
from malgen.findings import Estimate, Measurement
from malgen.grid.moves import DELTAS, NUM_ACTIONS
from malgen.grid.paths import distances
from malgen.stats.intervals import LevelBootstrap, ratio
from malgen.streams import stream
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import (
    KeysAndChestsLevels,
    Level,
    draw_level,
    sample_levels,
)

EXACT = 8
"""Most items for which every subset is asked about."""

PERMUTATIONS = 64
"""Orders of the items that are drawn when there are more."""

LAPSE = 0.02
"""Every probability is mixed with this share of a uniform one, so that its logarithm
exists for agents that are sure."""

RANGE = float(np.log1p(NUM_ACTIONS * (1 - LAPSE) / LAPSE))
"""Most by which a log-probability can change, nats."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Shapley values of the items of b states.

    Attributes:
        action: the likeliest action with all items present.
        values: Shapley value of the item on a cell, nats; 0 where no item lies.
        total: log-probability of that action with all items, minus that with none;
            the sum of the values (exactly so, sampled or not).
    """

    action: Int[np.ndarray, " b"]
    values: Float[np.ndarray, "b h w"]
    total: Float[np.ndarray, " b"]


def attribute(
    key: Key[Array, ""], policy: Policy | HostPolicy, levels: Level
) -> Attribution:
    """Which items make the policy take its first action on each level.

    Args:
        key: of the policy's own randomness, and of the sampled orders.
        policy: anything that acts; one with a memory starts every question afresh.
        levels: b states, as levels that start there.

    Returns:
        Exact values for at most 8 items, else from 64 permutations.
    """
    levels = jax.tree.map(np.asarray, levels)
    items = levels.keys | levels.chests
    number, height, width = items.shape
    cells = [np.flatnonzero(row) for row in items.reshape(number, -1)]
    plans = [coalitions(len(cell)) for cell in cells]
    present = np.zeros((sum(len(p.members) for p in plans), height * width), bool)
    source = np.repeat(np.arange(number), [len(p.members) for p in plans])
    ends = np.cumsum([len(p.members) for p in plans])
    for cell, plan, end in zip(cells, plans, ends, strict=True):
        present[end - len(plan.members) : end, cell] = plan.members
    probabilities = first_actions(key, policy, _edited(levels, source, present))

    action = np.zeros(number, int)
    values = np.zeros((number, height * width))
    total = np.zeros(number)
    for i, (cell, plan, end) in enumerate(zip(cells, plans, ends, strict=True)):
        asked = probabilities[end - len(plan.members) : end]
        # the last coalition is everybody, the first nobody
        action[i] = asked[-1].argmax()
        mixed = (1 - LAPSE) * asked[:, action[i]] + LAPSE / NUM_ACTIONS
        game = np.log(mixed)
        # rounded, so that an item without influence has none
        values[i, cell] = np.round(plan.weights @ (game - game[-1]), 9) + 0.0
        total[i] = game[-1] - game[0]
    return Attribution(action, values.reshape(items.shape), total)


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Which subsets of n items to ask about, and what to make of the answers.

    Attributes:
        members: m subsets, the empty one first and the full one last.
        weights: Shapley values are ``weights @ f(members)``.
    """

    members: Bool[np.ndarray, "m n"]
    weights: Float[np.ndarray, "n m"]


@cache
def coalitions(n: int) -> Coalitions:
    """All subsets of at most 8 items, else the prefixes of 64 permutations."""
    if n <= EXACT:
        index = np.arange(1 << n)
        members = (index[:, None] >> np.arange(n) & 1).astype(bool)
        size = members.sum(axis=1)
        weights = np.zeros((n, 1 << n))
        for item in range(n):
            inside = members[:, item]
            # 1 / (n C(n - 1, s)) for each subset of s other items
            others = size - inside
            share = np.array([1 / (n * comb(n - 1, int(s))) for s in others])
            weights[item] = np.where(inside, share, -share)
        return Coalitions(members, weights)
    rng = np.random.default_rng(0)
    half = rng.permuted(np.tile(np.arange(n), (PERMUTATIONS // 2, 1)), axis=1)
    orders = np.concatenate([half, half[:, ::-1]])
    rank = np.argsort(orders, axis=1)
    # prefixes[p, s, i]: item i is among the first s of permutation p
    prefixes = rank[:, None, :] < np.arange(n + 1)[:, None]
    members, where = np.unique(
        prefixes.reshape(-1, n), axis=0, return_inverse=True
    )  # sorted, so nobody comes first and everybody last
    where = where.reshape(len(orders), n + 1)
    weights = np.zeros((n, len(members)))
    for before, after, order in zip(where[:, :-1], where[:, 1:], orders, strict=True):
        np.add.at(weights, (order, after), 1 / len(orders))
        np.add.at(weights, (order, before), -1 / len(orders))
    return Coalitions(members, weights)


def _edited(levels: Level, source: np.ndarray, present: np.ndarray) -> Level:
    shape = (len(source), *levels.keys.shape[1:])
    there = present.reshape(shape)
    return Level(
        walls=levels.walls[source],
        start=levels.start[source],
        keys=levels.keys[source] & there,
        chests=levels.chests[source] & there,
        flagged=levels.flagged[source] & there,
        owned=levels.owned[source] & there,
        held=levels.held[source],
    )


def approached(levels: Level, action: Int[np.ndarray, " b"]) -> np.ndarray:
    """Items that the action brings nearer, Bool[b, h, w] (walking distance)."""
    walls, start = np.asarray(levels.walls), np.asarray(levels.start)
    target = start + DELTAS[action]
    index = np.arange(len(start))
    blocked = walls[index, target[:, 0], target[:, 1]]
    target = np.where(blocked[:, None], start, target)
    now, then = np.asarray(_away(walls, start)), np.asarray(_away(walls, target))
    return np.asarray(levels.keys | levels.chests) & (then < now)


@eqx.filter_jit
def _away(walls, cells):
    def one(walls, cell):
        source = jax.numpy.zeros(walls.shape, bool).at[cell[0], cell[1]].set(True)
        return distances(walls, source)

    return jax.vmap(one)(walls, cells)


def _states(case: Case) -> Level:
    """Levels of the scenario's size; every other one starts with a key in hand."""
    size, number = case.scenario.size, 96 if case.full else 48
    each = 4 if case.full and size > 7 else 3
    levels = sample_levels(
        stream(case.seed, "attribution", "levels"),
        KeysAndChestsLevels(height=size, width=size, num_keys=each, num_chests=each),
        number,
    )
    held = np.arange(number, dtype=np.int32) % 2
    return eqx.tree_at(lambda level: level.held, levels, jax.numpy.asarray(held))


def _measure(case: Case, say: Say) -> Measurement:
    began = perf_counter()
    levels = _states(case)
    key = stream(case.seed, "attribution", "policy")
    say("which items make it act as it does")
    found = attribute(key, case.policy, levels)
    keys, chests = np.asarray(levels.keys), np.asarray(levels.chests)
    near = approached(levels, found.action)
    size = np.abs(found.values)
    number = len(found.total)
    kinds = {"keys": keys, "chests": chests}

    columns: dict[str, np.ndarray] = {"all": size.sum(axis=(1, 2))}
    for kind, there in kinds.items():
        columns[kind] = (size * there).sum(axis=(1, 2))
        columns[f"{kind} count"] = there.sum(axis=(1, 2))
        columns[f"{kind} near"] = (found.values * (there & near)).sum(axis=(1, 2))
        columns[f"{kind} near count"] = (there & near).sum(axis=(1, 2))
    columns["total"] = found.total
    boot = LevelBootstrap.of(np.stack(list(columns.values()), axis=1), seed=case.seed)
    at = {name: i for i, name in enumerate(columns)}

    def share(top: str, bottom: str, unit: str) -> Estimate:
        if not columns[bottom].any():
            return _undefined(unit, number, f"no {bottom} in any state")
        pick = [at[top], at[bottom]]
        low, high, method = boot.ci(lambda means: ratio(means[..., pick]), 0.05)
        return Estimate(
            value=float(ratio(boot.means[pick])),
            low=low,
            high=high,
            unit=unit,
            levels=number,
            method=method,
        )

    estimates = {}
    for kind in kinds:
        estimates[f"influence of {kind}"] = share(kind, f"{kind} count", "nats")
    for kind in kinds:
        estimates[f"influence of approached {kind}"] = (
            share(f"{kind} near", f"{kind} near count", "nats")
            if columns[f"{kind} near count"].any()
            else _undefined("nats", number, f"it never approaches {kind}")
        )
    estimates["share of keys"] = (
        share("keys", "all", "probability")
        if columns["all"].any()
        else _undefined("probability", number, "no item has any influence")
    )
    one = np.eye(len(columns))[at["total"]]
    low, high, method = boot.mean_ci(one, -RANGE, RANGE, 0.05)
    estimates["influence of all items"] = Estimate(
        value=float(found.total.mean()),
        low=low,
        high=high,
        unit="nats",
        levels=number,
        method=method,
    )

    example = int(size.reshape(number, -1).max(axis=1).argmax())
    return Measurement(
        instrument=INSTRUMENT.name,
        question=INSTRUMENT.question,
        answer=_answer(estimates),
        estimates=estimates,
        series={"example": _example(found, levels, example)},
        facts={
            "example": draw_level(jax.tree.map(lambda leaf: leaf[example], levels)),
            "example action": str(found.action[example]),
            "values": "exact over all subsets of items",
        },
        caveats=(
            "sensitivity of one action to the items, not a goal; it enters no verdict",
            "levels with items left out may be unlike anything a network was trained "
            "on",
            f"probabilities are mixed with {LAPSE:.0%} of uniform ones, so a single "
            f"change counts at most {RANGE:.1f} nats",
        ),
        source=INSTRUMENT_SOURCE,
        seconds=perf_counter() - began,
    )


def _undefined(unit: str, levels: int, note: str) -> Estimate:
    return Estimate(
        value=None, low=None, high=None, unit=unit, levels=levels, note=note
    )


def _example(found: Attribution, levels: Level, i: int) -> dict[str, Estimate]:
    rows = {}
    for kind, there in (("key", levels.keys), ("chest", levels.chests)):
        for row, column in np.argwhere(np.asarray(there[i])):
            value = float(found.values[i, row, column])
            rows[f"{kind} {row},{column}"] = Estimate(
                value=value,
                low=value,
                high=value,
                unit="nats",
                levels=1,
                method="exact for this state and this policy",
            )
    return rows


def _answer(estimates: dict[str, Estimate]) -> str:
    keys, chests = (
        estimates["influence of keys"].value,
        estimates["influence of chests"].value,
    )
    return (
        f"A key changes the log-probability of its action by {keys:.2f} nats on "
        f"average, a chest by {chests:.2f}."
    )


INSTRUMENT_SOURCE = "measurement.md 3.4; Shapley 1953"

INSTRUMENT = Instrument(
    name="attribution",
    question="Which of the items in sight make it act as it does?",
    seconds=6.0,
    version=1,
    applicable=offers_logits,
    measure=_measure,
)
