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


_SHARED = dict(
    learning_rate=2.5e-3,
    num_envs=128,
    num_steps=32,
    num_minibatches=2,
    chunk_updates=32,
    eval_chunks=1,
    final_lr=0.05,
    final_ent=0.1,
)
_NETWORK = FeedforwardConfig(symmetric=True)

RECIPES = {
    "keys-and-chests-small": Recipe(
        ppo=PPOConfig(total_timesteps=786_432, **_SHARED), network=_NETWORK
    ),
    "keys-and-chests": Recipe(
        ppo=PPOConfig(total_timesteps=1_572_864, **_SHARED), network=_NETWORK
    ),
}
