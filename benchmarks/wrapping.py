"""A foreign policy: what the audit's rollout costs over stepping it by hand."""

import importlib.util
import math
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.harness import Local, Row
from benchmarks.workers.protocol import Case
from malgen.adapters.policies import as_policy
from malgen.deployment import draw_levels
from malgen.rollout import collect
from malgen.scenarios import find_scenario

LEVELS = 64
MOST = 0.10  # of the time by hand


def simple(observation) -> int:
    """The cheapest policy: goes round in a circle."""
    return int(observation[:, :, 2].sum()) % 4


class Network:
    """A small NumPy network, one observation at a time, its likeliest action."""

    def __init__(self, inputs: int) -> None:
        random = np.random.default_rng(0)
        self.first = random.standard_normal((inputs, 128)).astype(np.float32)
        self.second = random.standard_normal((128, 128)).astype(np.float32)
        self.last = random.standard_normal((128, 5)).astype(np.float32)

    def __call__(self, observation) -> int:
        hidden = np.maximum(observation.astype(np.float32).ravel() @ self.first, 0)
        hidden = np.maximum(hidden @ self.second, 0)
        return int(np.argmax(hidden @ self.last))


def foreign(shape):
    """What people bring: a Stable-Baselines3 policy; None where that is missing."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return None
    import gymnasium
    import torch
    from stable_baselines3.common.policies import ActorCriticPolicy

    torch.set_num_threads(1)  # one observation at a time is no work for more
    policy = ActorCriticPolicy(
        gymnasium.spaces.MultiBinary(shape),
        gymnasium.spaces.Discrete(5),
        lambda _: 0.0,
    )
    return lambda observation: policy.predict(observation, deterministic=True)[0]


def predicting(shape):
    """A Stable-Baselines3 policy as a whole; None where that is missing.

    Its logits are so sharp that both sides play the same episodes.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        return None
    import gymnasium
    import torch
    from stable_baselines3.common.policies import ActorCriticPolicy

    torch.set_num_threads(1)
    policy = ActorCriticPolicy(
        gymnasium.spaces.MultiBinary(shape),
        gymnasium.spaces.Discrete(5),
        lambda _: 0.0,
    )
    with torch.no_grad():
        policy.action_net.weight *= 1e6
    return policy


def onnx_file(shape, folder):
    """A network of 128x128 as an ONNX file; None where onnxruntime is missing."""
    missing = [importlib.util.find_spec(n) is None for n in ("onnx", "onnxruntime")]
    if any(missing):
        return None
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    net = Network(math.prod(shape))
    matrices = {"a": net.first, "b": net.second, "c": net.last * 1e4}
    nodes = [
        helper.make_node("Flatten", ["obs"], ["row"]),
        helper.make_node("MatMul", ["row", "a"], ["one"]),
        helper.make_node("Relu", ["one"], ["two"]),
        helper.make_node("MatMul", ["two", "b"], ["three"]),
        helper.make_node("Relu", ["three"], ["four"]),
        helper.make_node("MatMul", ["four", "c"], ["logits"]),
    ]

    def port(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "policy",
        [port("obs", ["n", *shape])],
        [port("logits", ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in matrices.items()],
    )
    versions = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8}
    path = Path(folder) / "policy.onnx"
    onnx.save(helper.make_model(graph, **versions), path)
    return path


def session(path):
    """What somebody would write to run it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    found = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return lambda seen: found.run(["logits"], {"obs": seen.astype(np.float32)})[0]


def measure(options) -> list[Row]:
    """From the cheapest policy to one in another library's format."""
    deployment = find_scenario("keys-and-chests-small").deployment()
    number = 16 if options.quick else LEVELS
    levels = draw_levels(jax.random.key(0), deployment, number).levels
    shape = (*levels.walls.shape[1:], 7)
    with tempfile.TemporaryDirectory() as folder:
        return _measured(options, deployment, levels, number, shape, folder)


def _measured(options, deployment, levels, number, shape, folder) -> list[Row]:
    model, path = predicting(shape), onnx_file(shape, folder)
    network = Network(math.prod(shape))
    alone = foreign(shape)
    # what is wrapped, what is called by hand, and whether that takes whole batches
    policies = {
        "trivial callable": (simple, simple, False),
        "NumPy network of 128x128": (network, network, False),
        "Stable-Baselines3 policy": (alone, alone, False),
        "Stable-Baselines3 policy by its predict, whole batches": (
            model,
            model and (lambda seen: model.predict(seen)[0]),
            True,
        ),
        "network of 128x128 in an ONNX file, whole batches": (
            path,
            path and _likeliest(session(path)),
            True,
        ),
    }
    rows = []
    for name, (policy, called, batched) in policies.items():
        what = f"wrapping a {name}, 9x9, {number} levels"
        if policy is None:
            why = "not installed: pip install 'malgen[sb3,onnx]'"
            rows.append(Row(question="wrapping", what=what, ratio=why))
            continue
        locals_ = {
            "malgen": Local(_wrapped(policy, deployment, levels)),
            "by hand": Local(_by_hand(policy, called, batched, deployment, levels)),
        }
        turns = {each: local.turn for each, local in locals_.items()}
        rounds = harness.contest(turns, options.rounds, options.patience)
        row = harness.compared(
            "wrapping",
            what,
            rounds,
            locals_,
            "by hand",
            timed="playing one episode on each level; malgen's side also checks every "
            "answer and records states, actions and logits; oracles and statistics "
            "apart",
        )
        row.target = f"at most {MOST:.0%} over by hand"
        row.reached = row.numbers["median"] >= 1 / (1 + MOST)
        rows.append(row)
    return rows


def _wrapped(policy, deployment, levels) -> Case:
    """What ``malgen.audit(policy)`` does to play it."""
    wrapped = _policy(policy, levels)
    steps = _steps(policy, deployment, levels)

    def run(times):
        for i in range(times):
            collect(
                jax.random.key(i), deployment.world, wrapped, levels, deployment.horizon
            )

    return Case(run, steps, "steps")


def _policy(policy, levels):
    return as_policy(policy, levels.walls.shape[1:])


def _likeliest(logits):
    return lambda seen: np.argmax(logits(seen), axis=1)


def _by_hand(policy, called, batched, deployment, levels) -> Case:
    """The loop that somebody would write: one compiled step of all levels."""
    world, horizon = deployment.world, deployment.horizon
    number = levels.walls.shape[0]
    key = jax.random.key(0)
    reset = jax.jit(jax.vmap(world.reset, in_axes=(None, 0)))

    @jax.jit
    def step(state, action, levels):
        following = jax.vmap(world.step, in_axes=(None, 0, 0, 0))(
            key, state, action, levels
        )
        return following, *look(following, levels)

    @jax.jit
    def look(state, levels):
        return (
            jax.vmap(world.observe)(state, levels),
            jax.vmap(world.is_terminal)(state, levels),
        )

    def run(times):
        for _ in range(times):
            state = reset(key, levels)
            seen, ended = look(state, levels)
            for _ in range(horizon):
                seen, action = np.asarray(seen), np.zeros(number, np.int32)
                going = np.flatnonzero(~np.asarray(ended))
                if batched:
                    action[going] = called(seen[going])
                else:
                    for i in going:
                        action[i] = called(seen[i])
                state, seen, ended = step(state, jnp.asarray(action), levels)
                if np.asarray(ended).all():
                    break

    return Case(run, _steps(policy, deployment, levels), "steps")


def _steps(policy, deployment, levels) -> int:
    """Calls of the policy in one run over all levels (both sides make as many)."""
    played = collect(
        jax.random.key(0),
        deployment.world,
        _policy(policy, levels),
        levels,
        deployment.horizon,
    )
    # Nobody is asked about a level that has ended.
    return int(np.asarray(played.active).sum())
