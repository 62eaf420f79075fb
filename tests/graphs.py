"""Small ONNX files whose answers are known by construction."""

import numpy as np
from onnx import TensorProto, helper, save

FLOAT = TensorProto.FLOAT
VERSIONS = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8}


def write(path, nodes, inputs, outputs, constants=()):
    """A file with these nodes; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [
            helper.make_tensor(
                name,
                TensorProto.INT64 if array.dtype == np.int64 else FLOAT,
                array.shape,
                array.ravel(),
            )
            for name, array in constants
        ],
    )
    save(helper.make_model(graph, **VERSIONS), path)
    return path


def weights(inputs, actions=5, seed=0):
    """A random matrix, Float32[inputs, actions]."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((inputs, actions)).astype(np.float32)


def linear(
    path,
    shape,
    batch="n",
    dtype=FLOAT,
    matrix=None,
    names=("obs", "logits"),
    then=None,
):
    """``logits = flat observation @ matrix``.

    Args:
        path: of the file.
        shape: of one observation.
        batch: size of a batch; a name for any.
        dtype: of the observations.
        matrix: Float32[inputs, actions]; None for ``weights``.
        names: of the input and the output.
        then: a node's name that comes last, such as Softmax.
    """
    size = int(np.prod(shape))
    matrix = weights(size) if matrix is None else matrix
    last = "found" if then else names[1]
    nodes = [
        helper.make_node("Cast", [names[0]], ["cast"], to=FLOAT),
        helper.make_node("Reshape", ["cast", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], [last]),
    ]
    out = (names[1], FLOAT, [batch, matrix.shape[1]])
    if then == "ArgMax":
        nodes.append(helper.make_node("ArgMax", [last], [names[1]], axis=1, keepdims=0))
        out = (names[1], TensorProto.INT64, [batch])
    elif then:
        nodes.append(helper.make_node(then, [last], [names[1]]))
    constants = [("flat", np.array([-1, size], np.int64)), ("matrix", matrix)]
    return write(path, nodes, [(names[0], dtype, [batch, *shape])], [out], constants)


def counting(path, inputs, batch="n", actions=5):
    """``h`` counts steps; the logits are those of the observation, times ``h + 1``."""
    nodes = [
        helper.make_node("Add", ["h", "one"], ["h_out"]),
        helper.make_node("MatMul", ["obs", "matrix"], ["plain"]),
        helper.make_node("Mul", ["plain", "h_out"], ["logits"]),
        helper.make_node("ReduceSum", ["obs", "axes"], ["value"], keepdims=0),
    ]
    constants = [
        ("one", np.ones(1, np.float32)),
        ("matrix", weights(inputs, actions)),
        ("axes", np.array([1], np.int64)),
    ]
    return write(
        path,
        nodes,
        [("obs", FLOAT, [batch, inputs]), ("h", FLOAT, [batch, 1])],
        [
            ("logits", FLOAT, [batch, actions]),
            ("value", FLOAT, [batch]),
            ("h_out", FLOAT, [batch, 1]),
        ],
        constants,
    )


def looping(path, inputs, times, actions=5):
    """Zeros as logits, after a loop that goes round ``times`` times."""
    count = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "sum"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", FLOAT, [actions]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", FLOAT, [actions]),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["times", "", "zeros"], ["looped"], body=count),
        helper.make_node("MatMul", ["obs", "matrix"], ["plain"]),
        helper.make_node("Add", ["plain", "looped"], ["logits"]),
    ]
    constants = [
        ("times", np.array(times, np.int64)),
        ("zeros", np.zeros(actions, np.float32)),
        ("matrix", np.zeros((inputs, actions), np.float32)),
    ]
    return write(
        path,
        nodes,
        [("obs", FLOAT, ["n", inputs])],
        [("logits", FLOAT, ["n", actions])],
        constants,
    )


def out_of_bounds(path, inputs, actions=5):
    """Can be read, and fails when it is run: it takes a row that is not there."""
    nodes = [
        helper.make_node("Gather", ["matrix", "row"], ["found"], axis=0),
        helper.make_node("ReduceSum", ["obs", "axes"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "far"], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["each"]),
        helper.make_node("Gather", ["matrix", "each"], ["taken"], axis=0),
        helper.make_node("Add", ["taken", "found"], ["logits"]),
    ]
    constants = [
        ("matrix", np.zeros((2, actions), np.float32)),
        ("row", np.array([0], np.int64)),
        ("axes", np.array([1], np.int64)),
        ("far", np.array([1000], np.int64)),
        ("flat", np.array([-1], np.int64)),
    ]
    return write(
        path,
        nodes,
        [("obs", FLOAT, ["n", inputs])],
        [("logits", FLOAT, ["n", actions])],
        constants,
    )
