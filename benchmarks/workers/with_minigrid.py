"""minigrid: DoorKey at the same size, environments stepped one by one in Python."""

import gymnasium
import numpy as np
from minigrid.envs import DoorKeyEnv
from minigrid.wrappers import FullyObsWrapper, ImgObsWrapper
from protocol import Case, serve

HORIZON = 128


def environment(size):
    env = DoorKeyEnv(size=size, max_steps=HORIZON)
    return ImgObsWrapper(FullyObsWrapper(env))


def generation(size, num_keys, num_chests, batch):
    env = environment(size)
    env.reset(seed=0)

    def run(times):
        for _ in range(times):
            env.reset()

    return Case(
        run,
        1,
        "levels",
        {
            "layout": f"{size}x{size}, two rooms and one key",
            "inside": "reset, one at a time",
        },
    )


def stepping(size, num_keys, num_chests, batch, fresh):
    if batch > 256:
        raise ValueError(f"not run: the same Python loop {batch} times over")
    envs = gymnasium.vector.SyncVectorEnv([lambda: environment(size)] * batch)
    envs.reset(seed=0)
    random = np.random.default_rng(0)
    length = max(512 // batch, 1)

    def run(times):
        for _ in range(times):
            for actions in random.integers(0, 7, (length, batch)):
                envs.step(actions)

    return Case(
        run,
        length * batch,
        "steps",
        {
            "observation": f"the whole grid [{size}, {size}, 3], 1 byte each",
            "actions": "uniform, drawn inside",
            "levels": "drawn inside by every reset",
            "auto-reset": "inside, to a new level",
            "rules": "DoorKey: other rules",
        },
    )


if __name__ == "__main__":
    serve(
        {"generation": generation, "stepping": stepping},
        ("minigrid", "gymnasium", "numpy"),
    )
