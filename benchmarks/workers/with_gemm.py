"""The matrix products of one PPO update and nothing else: how fast they could be."""

import sys

import numpy as np
from protocol import Case, serve


def products(layers, settings):
    """(rows, inputs, outputs, how often) of forward and backward passes."""
    num_envs, num_steps = settings["num_envs"], settings["num_steps"]
    block = num_envs * num_steps // settings["num_minibatches"]
    blocks = settings["num_minibatches"] * settings["update_epochs"]
    out = []
    for i, (inputs, outputs) in enumerate(layers):
        out.append((num_envs, inputs, outputs, num_steps))  # acting
        out.append((block, inputs, outputs, blocks))  # forward
        out.append((inputs, block, outputs, blocks))  # gradient of the matrix
        if i > 0:
            out.append((block, outputs, inputs, blocks))  # gradient of the input
    return out


def gemm(layers, settings):
    work = products(layers, settings)
    random = np.random.default_rng(0)
    if sys.argv[1] == "jax":
        import jax

        multiply = jax.jit(lambda a, b: a @ b)
        jobs = [
            (
                jax.numpy.asarray(random.standard_normal((m, k)), "float32"),
                jax.numpy.asarray(random.standard_normal((k, n)), "float32"),
                times,
            )
            for m, k, n, times in work
        ]

        def update():
            for a, b, times in jobs:
                for _ in range(times):
                    result = multiply(a, b)
            jax.block_until_ready(result)
    else:
        jobs = [
            (
                random.standard_normal((m, k)).astype("float32"),
                random.standard_normal((k, n)).astype("float32"),
                np.empty((m, n), "float32"),
                times,
            )
            for m, k, n, times in work
        ]

        def update():
            for a, b, result, times in jobs:
                for _ in range(times):
                    np.matmul(a, b, out=result)

    def run(times):
        for _ in range(times):
            update()

    return Case(
        run,
        settings["num_envs"] * settings["num_steps"],
        "steps",
        {"inside": "the matrix products of training, nothing else"},
    )


if __name__ == "__main__":
    serve({"gemm": gemm}, ("jax", "jaxlib", "numpy"))
