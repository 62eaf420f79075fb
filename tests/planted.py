"""Agents with a known utility, in the tables of the soft engine."""

import numpy as np

from malgen.agents.planner import level_batch
from malgen.goals import fit
from malgen.goals.soft_values import ItemLevels, soft_values
from malgen.streams import stream
from malgen.worlds.keys_and_chests import KeysAndChestsLevels, sample_levels


def levels_of(
    counts: tuple[int, int], number: int, *, layout: str = "braided", seed: int = 0
):
    """9x9 levels with so many keys and chests."""
    distribution = KeysAndChestsLevels(
        height=9, width=9, layout=layout, num_keys=counts[0], num_chests=counts[1]
    )
    return sample_levels(stream(seed, "planted", *counts), distribution, number)


def items_of(*arguments, **options) -> ItemLevels:
    return ItemLevels.of(level_batch(levels_of(*arguments, **options)))


def plant(
    items: ItemLevels,
    theta: np.ndarray,
    *,
    sampled: bool = False,
    horizon: int = 64,
    seed: int = 0,
):
    """What a soft pursuer of ``theta`` does in one episode on each level.

    Its probabilities are seen, or, if ``sampled``, only the actions that it took.
    """
    rng = np.random.default_rng(seed)
    one = np.ones(1)
    values = soft_values(items, np.asarray(theta)[None], one, fit.DISCOUNT * one)
    b = len(items)
    level = np.arange(b)
    mask, cell = items.start_masks.copy(), np.asarray(items.batch.start).copy()
    seen = []
    for _ in range(horizon):
        going = ~items.ended(level, mask)
        level, mask, cell = level[going], mask[going], cell[going]
        if not len(level):
            break
        logits = values.log_policy(level, mask, cell)[..., 0]
        action = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        chance = np.eye(5)[action] if sampled else np.exp(logits)
        seen.append((level, mask, cell, chance))
        after = items.after(level, mask, cell)
        index = np.arange(len(level))
        mask, cell = after.mask[index, action], after.cell[index, action]
    return fit.choices(*(np.concatenate(x) for x in zip(*seen, strict=True)), b)
