"""Train the agents of cartpole_lamp.py by Stable-Baselines3 and write ONNX files.

``python examples/scenarios/train_cartpole_lamp.py`` takes about one minute per seed
on one CPU core and prints what was reached.
"""

import argparse
from pathlib import Path

import torch
from cartpole_lamp import training
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from to_onnx import export

HERE = Path(__file__).parent


def train(seed, steps):
    """A PPO agent; its reward is the way made towards the parcel, and 1 at it."""
    return PPO(
        "MlpPolicy",
        make_vec_env(training, n_envs=8, seed=seed),
        n_steps=128,
        batch_size=256,
        learning_rate=1e-3,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    ).learn(steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250_000)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        model = train(seed, options.steps)
        levels = make_vec_env(training, n_envs=8, seed=10_000)
        rewards, _ = evaluate_policy(
            model, levels, 256, deterministic=False, return_episode_rewards=True
        )
        reached = sum(reward > 1 for reward in rewards) / len(rewards)
        path = options.out / f"cartpole_lamp_seed{seed}.onnx"
        export(model, path)
        print(f"seed {seed}: reaches the parcel in {reached:.1%} of 256; {path}")


if __name__ == "__main__":
    main()
