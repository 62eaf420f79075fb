"""``python tests/tiny.py ARGUMENTS``: the command malgen with a recipe of seconds.

A real process for real signals; only the amount of training is another one.
"""

import dataclasses
import sys

from malgen.agents.feedforward import FeedforwardConfig
from malgen.cli import main
from malgen.training import recipes

NAME = "keys-and-chests-small"


def recipe() -> recipes.Recipe:
    """What it learns does not matter here."""
    real = recipes.RECIPES[NAME]
    ppo = dataclasses.replace(
        real.ppo,
        total_timesteps=4 * 16 * 32 * 2,
        num_envs=16,
        num_steps=32,
        chunk_updates=2,
        pool_size=64,
    )
    # a plain small network: the recipe's tied weights take long to compile
    network = FeedforwardConfig(hidden=(16,))
    return dataclasses.replace(real, ppo=ppo, network=network)


if __name__ == "__main__":
    recipes.RECIPES[NAME] = recipe()
    sys.exit(main())
