"""PPO: environment steps per second at equal settings, and the share of the products.

A dense network multiplies the same matrices whoever trains it, so what is reported
beside the speed is how many floating point operations each spends per step, and which
share of the time the products alone would have taken (``gemm``: the same products, in
the same run, by the faster of JAX and NumPy).
"""

import contextlib
import sys

from benchmarks import competitors, harness
from benchmarks.harness import Failed, Row, Worker

SIZE = {"size": 13, "num_keys": 3, "num_chests": 10}
HIDDEN = [128, 128]
SETTINGS = {
    "num_envs": 256,
    "num_steps": 64,
    "num_minibatches": 4,
    "update_epochs": 2,
    "learning_rate": 1e-3,
    "gae_lambda": 0.95,
    "clip_coef": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
# The recipes' own network ties its weights: as wide, with a quarter of the products.
ARMS = {
    "malgen": {"view": "agent"},
    "malgen tied weights": {"view": "agent", "symmetric": True},
    "malgen view=11": {"view": 11},
}


def flops_per_step(layers, settings) -> float:
    """Of the matrix products: acting once, and each epoch forward and backward."""
    forward = sum(2 * i * o for i, o in layers)
    to_input = sum(2 * i * o for i, o in layers[1:])
    return forward + settings["update_epochs"] * (2 * forward + to_input)


def measure(options) -> list[Row]:
    """Rows against jaxgmg, Stable-Baselines3 and the products alone."""
    absent, workers = {}, {}
    with contextlib.ExitStack() as stack:

        def enter(name, start, case, **settings):
            try:
                workers[name] = worker = start()
            except competitors.Missing as error:
                absent[name] = str(error)
                return
            stack.callback(worker.close)
            try:
                worker.open(case, **settings)
            except Failed as error:
                if name.startswith("malgen"):
                    raise
                absent[name] = f"failed: {error}"

        for name, arm in ARMS.items():
            enter(
                name,
                lambda name=name: competitors.malgen(name),
                "ppo",
                **SIZE,
                network=arm,
                hidden=HIDDEN,
                settings=SETTINGS,
            )
        enter(
            "jaxgmg",
            lambda: competitors.jaxgmg(options.jaxgmg),
            "ppo",
            **SIZE,
            hidden=HIDDEN,
            settings=SETTINGS,
        )
        enter(
            "stable-baselines3",
            competitors.stable_baselines3,
            "ppo",
            **SIZE,
            hidden=HIDDEN,
            settings=SETTINGS,
        )
        layers = {
            name: worker.case["facts"]["layers"]
            for name, worker in workers.items()
            if name not in absent
        }
        for library in ("jax", "numpy"):
            enter(
                f"gemm ({library})",
                lambda library=library: Worker(
                    f"gemm ({library})", sys.executable, "with_gemm.py", (library,)
                ),
                "gemm",
                layers=layers["malgen"],
                settings=SETTINGS,
            )
        turns = {n: w.turn for n, w in workers.items() if n not in absent}
        rounds = harness.contest(turns, options.rounds, options.patience)
    return list(_rows(rounds, workers, layers, absent))


def _rows(rounds, workers, layers, absent):
    what = "PPO, 13x13, 256 envs x 64 steps, 2 epochs, 4 minibatches, 2x128"
    cost = {name: flops_per_step(each, SETTINGS) for name, each in layers.items()}
    targets = {("malgen", "jaxgmg"): 1.2}
    for ours in ARMS:
        for other in ("jaxgmg", "stable-baselines3"):
            if other in absent:
                yield Row(
                    question="ppo",
                    what=f"{what}; {ours}",
                    other=other,
                    ratio=absent[other],
                )
                continue
            timed = (
                f"{ours}: {workers[ours].case['facts']['inside']}; {other}: "
                f"{workers[other].case['facts']['inside']}; matrix products per step: "
                f"{cost[ours] / 1e6:.2f} MFLOP against {cost[other] / 1e6:.2f}"
            )
            yield harness.compared(
                "ppo",
                f"{what}; {ours}",
                rounds,
                workers,
                other,
                ours=ours,
                timed=timed,
                target=targets.get((ours, other)),
            )
    best = max(
        ("gemm (jax)", "gemm (numpy)"), key=lambda name: harness.rate(rounds, name)
    )
    for name in cost:
        yield _share(rounds, name, best, cost)


def _share(rounds, name, best, cost) -> Row:
    """Time of the products alone over time of the training, per FLOP."""
    scale = cost[name] / cost["malgen"]  # the products were those of malgen's network
    found = harness.ratio(rounds, name, best, scale=scale)
    alone = harness.rate(rounds, best) * cost["malgen"] / 1e9
    reached = f"{harness.rate(rounds, name) * cost[name] / 1e9:.3g} GFLOP/s"
    return Row(
        question="ppo",
        what=f"PPO: {name}, share of the products alone",
        malgen=reached,
        other=f"{best}: {alone:.3g} GFLOP/s",
        ratio=str(found),
        timed="floating point operations of dense products per second of training over "
        "those of the same products alone, float32, same threads",
        target="0.6x" if name == "malgen" else "",
        reached=found.median >= 0.6 if name == "malgen" else None,
        numbers={"share": found.median, "flops_per_step": cost[name]},
    )
