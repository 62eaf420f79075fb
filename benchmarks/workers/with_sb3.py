"""Stable-Baselines3's PPO on the Gymnasium environment, with malgen's view and net."""

import itertools
import time

import numpy as np
import torch
from protocol import Case, serve
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from malgen.adapters.gymnasium import KeysAndChestsVectorEnv

# Keys in hand that malgen's network is shown one input each.
COUNTED = 16


class Batched(VecEnv):
    """The vector environment as Stable-Baselines3 wants it: faster than one by one."""

    def __init__(self, num_envs, **settings):
        self._envs = KeysAndChestsVectorEnv(
            num_envs, autoreset_mode="SameStep", **settings
        )
        super().__init__(
            num_envs,
            self._envs.single_observation_space,
            self._envs.single_action_space,
        )

    def reset(self):
        return self._envs.reset(seed=0)[0]

    def step_async(self, actions):
        self._actions = actions

    def step_wait(self):
        seen, rewards, terminated, truncated, told = self._envs.step(self._actions)
        infos = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            infos[i]["terminal_observation"] = told["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i])
        return seen, rewards.astype(np.float32), terminated | truncated, infos

    def close(self):
        self._envs.close()

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs

    def env_method(self, name, *args, indices=None, **kwargs):
        raise NotImplementedError(name)

    def get_attr(self, name, indices=None):
        return [getattr(self._envs, name, None)] * self.num_envs

    def set_attr(self, name, value, indices=None):
        raise NotImplementedError(name)


class Trunk(BaseFeaturesExtractor):
    """malgen's shared trunk: the planes that training levels show, and the keys."""

    def __init__(self, space, hidden):
        super().__init__(space, features_dim=hidden[-1])
        rows, columns, _ = space.shape
        sizes = [rows * columns * 3 + COUNTED, *hidden]
        layers = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.LeakyReLU(0.1)]
        self.net, self.sizes = torch.nn.Sequential(*layers), sizes

    def forward(self, seen):
        seen = seen.float()
        planes = seen[..., :3].flatten(1)
        held = seen[..., 5].flatten(1)[:, :COUNTED]
        return self.net(torch.cat([planes, held], 1))


def learner(envs, hidden, settings, seed=0):
    """Shared trunk and linear heads, like malgen's."""
    return PPO(
        "MlpPolicy",
        envs,
        n_steps=settings["num_steps"],
        batch_size=settings["num_envs"]
        * settings["num_steps"]
        // settings["num_minibatches"],
        n_epochs=settings["update_epochs"],
        learning_rate=settings["learning_rate"],
        gamma=0.99,
        gae_lambda=settings["gae_lambda"],
        clip_range=settings["clip_coef"],
        ent_coef=settings["ent_coef"],
        vf_coef=settings["vf_coef"],
        max_grad_norm=settings["max_grad_norm"],
        policy_kwargs={
            "features_extractor_class": Trunk,
            "features_extractor_kwargs": {"hidden": hidden},
            "net_arch": [],
        },
        device="cpu",
        seed=seed,
    )


def ppo(size, num_keys, num_chests, hidden, settings):
    envs = Batched(
        settings["num_envs"],
        size=size,
        num_keys=num_keys,
        num_chests=num_chests,
        view="agent",
    )
    model = learner(envs, hidden, settings)
    chunk = settings["num_envs"] * settings["num_steps"]

    def run(times):
        model.learn(times * chunk, reset_num_timesteps=False)

    sizes = model.policy.features_extractor.sizes
    layers = [list(pair) for pair in itertools.pairwise(sizes)]
    return Case(
        run,
        chunk,
        "steps",
        {
            "inside": "levels (as malgen's vector environment draws them), rollouts, "
            "updates",
            "layers": [*layers, [hidden[-1], 6]],
        },
    )


class UntilCompetent(BaseCallback):
    """Stops when held-out levels are played well enough, or when time is up."""

    def __init__(self, levels, stop_at, every, limit, **settings):
        super().__init__()
        self.envs = KeysAndChestsVectorEnv(levels, **settings)
        self.best = min(settings["num_keys"], settings["num_chests"])
        self.stop_at, self.every, self.limit = stop_at, every, limit
        self.fraction, self.updates = 0.0, 0

    def _on_rollout_start(self):
        # Called after the updates of the last rollout.
        if self.updates and self.updates % self.every == 0:
            self.fraction = self.measured()
        self.updates += 1

    def _on_step(self):
        spent = time.perf_counter() - self.began
        return self.fraction < self.stop_at and spent < self.limit

    def _on_training_start(self):
        self.began = time.perf_counter()

    def measured(self):
        """Share of openable chests, actions sampled, one episode per level."""
        seen, _ = self.envs.reset(seed=10**6)
        playing = np.ones(self.envs.num_envs, bool)
        opened = np.zeros(self.envs.num_envs)
        while playing.any():
            actions, _ = self.model.predict(seen, deterministic=False)
            seen, rewards, terminated, truncated, _ = self.envs.step(actions)
            opened += rewards * playing
            playing &= ~(terminated | truncated)
        return float(opened.mean()) / self.best


def gate(size, num_keys, num_chests, hidden, settings, levels, stop_at, every):
    world = {
        "size": size,
        "num_keys": num_keys,
        "num_chests": num_chests,
        "view": "agent",
    }

    def run(request):
        """One run; its seed and its time limit in seconds."""
        seed, limit = request
        began = time.perf_counter()
        model = learner(Batched(settings["num_envs"], **world), hidden, settings, seed)
        watch = UntilCompetent(levels, stop_at, every, limit, **world)
        model.learn(10**9, callback=watch)
        return {
            "seconds": time.perf_counter() - began,
            "steps": model.num_timesteps,
            "reached": watch.fraction >= stop_at,
            "fraction": watch.fraction,
        }

    return Case(run, 1, "runs")


if __name__ == "__main__":
    serve(
        {"ppo": ppo, "gate": gate}, ("stable_baselines3", "torch", "gymnasium", "numpy")
    )
