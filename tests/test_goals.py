"""The library of goals and the soft values of their pursuers."""

import jax
import numpy as np
import pytest

from malgen.agents.planner import level_batch
from malgen.errors import NotMeasurable
from malgen.goals.library import FEATURES, LIBRARY
from malgen.goals.soft_values import BETAS, ItemLevels, soft_values
from malgen.planning.dense import solve_dense
from malgen.planning.problem import Weights
from malgen.worlds.keys_and_chests import KeysAndChestsLevels, sample_levels

BY_NAME = {goal.name: goal for goal in LIBRARY}
WEIGHTS = {
    "x": Weights(chest=1.0),
    "x-minus-excess": Weights(chest=1.0, excess=-1.0),
    "keys-and-chests": Weights(key=1.0, chest=1.0),
    "hoard": Weights(key=1.0, chest=-1.0),
    "avoid-key": Weights(key=-1.0),
}


def levels_of(keys, chests, number=3, size=9, seed=1):
    distribution = KeysAndChestsLevels(
        height=size, width=size, num_keys=keys, num_chests=chests
    )
    return level_batch(sample_levels(jax.random.key(seed), distribution, number))


@pytest.fixture(scope="module")
def solved():
    """Some goals at some temperatures and discounts on small levels."""
    levels = ItemLevels.of(levels_of(2, 1), most=4)
    rows = [
        (name, beta, discount)
        for name in (*WEIGHTS, "chest-touch", "corner-top-left", "stay")
        for beta in BETAS[[0, 4, 8, 12]]
        for discount in (0.9, 0.99)
    ]
    weights = np.stack([BY_NAME[n].vector() for n, _, _ in rows])
    beta, discount = np.array([r[1:] for r in rows]).T
    return rows, soft_values(levels, weights, beta, discount)


def test_soft_values_agree_with_the_dense_engine(solved):
    rows, values = solved
    batch = values.levels.batch
    start = np.arange(len(batch)), values.levels.start_masks, batch.start
    policy = np.exp(values.log_policy(*start))
    checked = 0
    for n, (name, beta, discount) in enumerate(rows):
        if name not in WEIGHTS:
            continue
        dense = solve_dense(
            batch,
            WEIGHTS[name],
            horizon=1500,
            discount=discount,
            ends_on_completion=False,
            inverse_temperature=beta,
        )
        odds = np.exp(beta * (dense.q - dense.q.max(1, keepdims=True)))
        odds /= odds.sum(1, keepdims=True)
        np.testing.assert_allclose(policy[:, :, n], odds, atol=5e-3)
        checked += 1
    assert checked == 40


def test_every_state_satisfies_the_soft_bellman_equation(solved):
    _, values = solved
    levels = values.levels
    states = [
        (i, mask, row, column)
        for i in range(len(levels))
        for mask in set(levels.masks()[i])
        for row, column in np.argwhere(~levels.batch.walls[i])
    ]
    level, mask, *cell = np.array(states).T
    after = levels.after(level, mask, np.stack(cell, 1))
    row, column = after.cell[..., 0], after.cell[..., 1]
    q = values.scaled[level[:, None], after.mask, row, column] * values.discount
    q += after.features @ values.weights.T * values.beta
    top = q.max(1)
    backed_up = top + np.log(np.exp(q - top[:, None]).mean(1))
    found = values.scaled[level, mask, cell[0], cell[1]]
    assert np.abs(found - backed_up).max() < 0.02
    assert np.abs(found).max() > 50


def test_transitions_are_those_of_the_world():
    from malgen.agents.scripted import Random
    from malgen.rollout import collect
    from malgen.worlds.keys_and_chests import KeysAndChests

    distribution = KeysAndChestsLevels(height=9, width=9, num_keys=3, num_chests=3)
    drawn = sample_levels(jax.random.key(3), distribution, 4)
    world = KeysAndChests(ends_on_completion=False)
    played = collect(jax.random.key(0), world, Random(), drawn, 150)
    levels = ItemLevels.of(level_batch(drawn))
    total = np.zeros(len(FEATURES))
    for i in range(4):
        mask = np.array([0])
        for t, action in enumerate(np.asarray(played.actions[i])):
            cell = np.asarray(played.states.position[i, t])[None]
            after = levels.after(np.array([i]), mask, cell)
            mask = after.mask[:, action]
            then = np.asarray(played.states.position[i, t + 1])
            assert (after.cell[0, action] == then).all()
            assert levels.held(np.array([i]), mask) == played.states.held[i, t + 1]
            left = np.asarray(played.states.chests[i, t + 1]).sum()
            assert levels.chests_left(np.array([i]), mask) == left
            total += after.features[0, action]
    seen = dict(zip(FEATURES, total, strict=True))
    assert min(seen[n] for n in ("key", "chest", "touch", "bump", "step")) > 0


def test_too_many_items_are_refused():
    with pytest.raises(NotMeasurable, match="7 items"):
        ItemLevels.of(levels_of(4, 3))
