"""Training recipes of the scenarios, tuned on training competence alone.

What was tried is in ``docs/training.md``. No deployment result was looked at to
choose anything here.
"""

from dataclasses import dataclass, field, replace

from malgen.agents.convolutional import ConvolutionalConfig
from malgen.agents.feedforward import FeedforwardConfig
from malgen.registry import look_up
from malgen.training.ppo import PPOConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a scenario's policies are trained.

    Attributes:
        ppo: hyper-parameters and the stopping rule.
        network: its settings. To change one thing for a control arm, use
            ``dataclasses.replace(recipe.network, view=11)``.
    """

    ppo: PPOConfig
    network: FeedforwardConfig | ConvolutionalConfig = field(
        default_factory=FeedforwardConfig
    )


# Both runs are 2^13 steps per update and 2^17 per chunk. The larger world has longer
# episodes, hence longer rollouts of fewer environments.
_SHARED = {
    "learning_rate": 4e-3,
    "final_lr": 0.05,
    "ent_coef": 0.01,
    "final_ent": 0.1,
    "num_minibatches": 4,
    "update_epochs": 2,
    "chunk_updates": 16,
    "eval_chunks": 1,
    "pool_size": 4096,
}
_NETWORK = FeedforwardConfig(hidden=(128, 128), activation="leaky-relu", symmetric=True)

RECIPES = {
    "keys-and-chests-small": Recipe(
        ppo=PPOConfig(total_timesteps=4 * 2**17, num_envs=128, num_steps=64, **_SHARED),
        network=_NETWORK,
    ),
    "keys-and-chests": Recipe(
        ppo=PPOConfig(total_timesteps=8 * 2**17, num_envs=64, num_steps=128, **_SHARED),
        network=_NETWORK,
    ),
}

NETWORKS = {
    "feedforward": "the recipe's own: tied weights over the lossless view",
    "convolutional": "two 3x3 convolutions over the lossless view; one seed opened 88% "
    "of training chests on keys-and-chests-small",
}


def recipe_of(scenario: str, network: str | None = None) -> Recipe:
    """How a scenario's policies are trained with a network.

    Args:
        scenario: its name.
        network: one of ``NETWORKS``; None: the recipe's own.

    Raises:
        ConfigError: an unknown network.
    """
    recipe = RECIPES[scenario]
    if network is None:
        return recipe
    look_up("network", network, NETWORKS)
    if network == "feedforward":
        return recipe
    # Weights that are not tied take smaller steps.
    ppo = replace(recipe.ppo, learning_rate=2.5e-3)
    return Recipe(ppo=ppo, network=ConvolutionalConfig())
