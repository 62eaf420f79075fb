"""An agent trained by Stable-Baselines3, audited in three ways; malgen[sb3,onnx].

By default it learns for seconds only; ``--steps 1.5e6`` takes a quarter of an hour.
"""

import argparse
import tempfile

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import malgen

VIEW = {"size": 9, "view": "agent"}  # of keys-and-chests-small, around the agent


class Network(torch.nn.Module):
    """Logits and value: an ONNX file should not hold actions that were drawn."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, obs):
        actor, critic = self.policy.mlp_extractor(self.policy.extract_features(obs))
        return self.policy.action_net(actor), self.policy.value_net(critic)


def train(steps):
    envs = make_vec_env("malgen/KeysAndChests-v0", 64, seed=0, env_kwargs=VIEW)
    rollouts = {"n_steps": 64, "batch_size": 1024, "n_epochs": 3, "ent_coef": 0.01}
    rate = {"learning_rate": lambda left: 1.5e-3 * left + 1e-4}
    layers = {"net_arch": [128, 128], "activation_fn": torch.nn.ReLU}
    where = {"policy_kwargs": layers, "seed": 0, "device": "cpu"}
    return PPO("MlpPolicy", envs, **rollouts, **rate, **where).learn(steps)


def three_ways(model, path):
    network = Network(model.policy).eval()
    seen = torch.zeros(2, *model.observation_space.shape)
    settings = {"input_names": ["obs"], "output_names": ["logits", "value"]}
    settings |= {"dynamic_shapes": {"obs": {0: "batch"}}, "external_data": False}
    torch.onnx.export(network, (seen,), path, verbose=False, **settings)

    def logits(observation):
        with torch.no_grad():
            return network(torch.as_tensor(observation)[None].float())[0][0].numpy()

    return {"predict": model, "ONNX": path, "logits": logits}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=float, default=4096)
    model = train(parser.parse_args().steps)
    with tempfile.TemporaryDirectory() as folder:
        for way, policy in three_ways(model, f"{folder}/policy.onnx").items():
            print(way, malgen.audit(policy, "keys-and-chests-small", view="agent"))
