"""Training recipes of the scenarios, tuned on training competence alone.

What was tried is in ``docs/training.md``. No deployment result was looked at to
choose anything here.
"""

from dataclasses import dataclass, field

from malgen.agents.feedforward import FeedforwardConfig
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
    network: FeedforwardConfig = field(default_factory=FeedforwardConfig)


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
