"""A policy in an ONNX file: keys pull it like magnets, and it knows nothing else.

Whatever made the file, it is one matrix here, anybody can run it, and malgen audits it.
It needs ``pip install 'malgen[onnx]'``; run it with ``python examples/07_onnx.py``.
"""

import tempfile

import gymnasium
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import malgen

SIDE, PLANES = 13, 6  # what is around the agent in a level of 9x9 cells
WALLS, KEYS = 0, 1
MOVES = ((-1, 0), (0, -1), (1, 0), (0, 1))  # 0 up, 1 left, 2 down, 3 right; 4 stay


def matrix():
    """From what is seen to logits: the pull of keys, and no way through walls."""
    weights = np.zeros((SIDE, SIDE, PLANES, 5), np.float32)
    away = np.stack(np.indices((SIDE, SIDE)), axis=-1) - SIDE // 2
    distance = np.maximum(np.abs(away).sum(axis=-1), 1)
    for action, move in enumerate(MOVES):
        weights[:, :, KEYS, action] = 60 * (away @ move) / distance**3
        weights[(*(SIDE // 2 + np.array(move)), WALLS, action)] = -100
    return weights.reshape(-1, 5)


def write(path):
    """``obs`` -> ``logits``; the first axis is the batch, of any size."""
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["obs"], ["row"]),
            helper.make_node("MatMul", ["row", "matrix"], ["logits"]),
        ],
        "magnets",
        [port("obs", TensorProto.FLOAT, ["batch", SIDE, SIDE, PLANES])],
        [port("logits", TensorProto.FLOAT, ["batch", 5])],
        [onnx.numpy_helper.from_array(matrix(), "matrix")],
    )
    versions = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8}
    onnx.save(helper.make_model(graph, **versions), path)


if __name__ == "__main__":
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        write(file.name)
        session = onnxruntime.InferenceSession(file.name)
        seen, _ = gymnasium.make("malgen/KeysAndChests-v0", size=9, view="agent").reset(
            seed=0
        )
        print(session.run(["logits"], {"obs": seen[None].astype(np.float32)}))
        print(malgen.audit(file.name, "keys-and-chests-small", gate=False))
