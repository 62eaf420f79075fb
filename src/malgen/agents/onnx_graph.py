"""malgen's networks as ONNX graphs: planes in, logits and value out.

What a network sees from where the agent stands, and how it is shown the keys in its
hand, become tables to look up, made by the code that the network itself runs. Tied
weights become the ordinary matrices that they stand for. The graph has nothing but
standard operators, so any ONNX runtime takes it.

It is put together by hand: jax2onnx 0.17.1 cannot convert slices at computed places or
remainders for batches of any size, which the networks' views need, and it brings forty
packages with it.

Source: the ONNX operator reference, opset 17.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from malgen.agents.convolutional import Convolutional
from malgen.agents.feedforward import (
    COMMON,
    RARE,
    Feedforward,
    held_bits,
    num_held_bits,
)
from malgen.agents.symmetry import folded, folded_units, spread
from malgen.errors import ConfigError, ContractError
from malgen.grid.views import centered, view_shape
from malgen.worlds.keys_and_chests import PLANES

OPSET = 17
IR_VERSION = 8  # what came with the operator set: older runtimes read it too
INPUT, LOGITS, VALUE = "obs", "logits", "value"

_AGENT, _HELD, _WALLS = (PLANES.index(name) for name in ("agent", "held", "walls"))
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "leaky-relu": ("LeakyRelu", {"alpha": 0.1}),
}


class Layer(NamedTuple):
    """An ordinary layer of units.

    Attributes:
        matrix: what its inputs are multiplied with.
        bias: what is added.
    """

    matrix: Float[np.ndarray, "i o"]
    bias: Float[np.ndarray, " o"]


def model(
    policy: Feedforward | Convolutional,
    *,
    inventory_visible: bool = True,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """A network as the content of an ONNX file.

    It takes ``obs``, Int8[batch, height, width, 7] (zeros and ones, as the Gymnasium
    environment shows them with ``view=None``), and gives ``logits``,
    Float[batch, actions], and ``value``, Float[batch].

    Args:
        policy: one network, not a stack.
        inventory_visible: False hides the plane of the keys in hand from it.
        metadata: kept in the file beside the graph.

    Raises:
        ConfigError: the package onnx is not installed.
        ContractError: a network of a kind that cannot be exported.
    """
    helper = import_onnx().helper
    graph = _Graph()
    seen = graph.op("Cast", INPUT, to=1)  # float32
    if not inventory_visible:
        visible = np.ones(len(PLANES), np.float32)
        visible[_HELD] = 0
        seen = graph.op("Mul", seen, graph.constant(visible))
    if isinstance(policy, Feedforward):
        hidden = _feedforward(graph, policy, seen)
    elif isinstance(policy, Convolutional):
        hidden = _convolutional(graph, policy, seen)
    else:
        raise ContractError(
            f"A {type(policy).__name__} cannot be exported; give a Feedforward or a "
            "Convolutional network."
        )
    actor, critic = _heads(policy)
    graph.dense(hidden, actor, LOGITS)
    value = graph.dense(hidden, critic)
    graph.op("Squeeze", value, graph.constant(np.array([1])), output=VALUE)

    types = import_onnx().TensorProto
    shape = ["batch", policy.height, policy.width, len(PLANES)]
    made = helper.make_graph(
        graph.nodes,
        "policy",
        [helper.make_tensor_value_info(INPUT, types.INT8, shape)],
        [
            helper.make_tensor_value_info(
                LOGITS, types.FLOAT, ["batch", policy.num_actions]
            ),
            helper.make_tensor_value_info(VALUE, types.FLOAT, ["batch"]),
        ],
        graph.constants,
    )
    found = helper.make_model(
        made,
        producer_name="malgen",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(found, metadata or {})
    import_onnx().checker.check_model(found, full_check=True)
    return found.SerializeToString()


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError(
            "Writing ONNX files needs the package onnx, which is not installed: pip "
            "install 'malgen[onnx]'."
        ) from None
    return onnx


class _Graph:
    """Nodes and constants; every value has a name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        made = import_onnx().numpy_helper.from_array(np.array(array, order="C"), name)
        self.constants.append(made)
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **settings: Any) -> str:
        """A node with one output, whose name it returns."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        node = import_onnx().helper.make_node(kind, inputs, [output], **settings)
        self.nodes.append(node)
        return output

    def dense(self, inputs: str, layer: Layer, output: str = "") -> str:
        """A product with a matrix plus a bias."""
        matrix, bias = (self.constant(part) for part in layer)
        return self.op("Gemm", inputs, matrix, bias, output=output)

    def active(self, inputs: str, activation: str) -> str:
        """An activation of the networks."""
        kind, settings = _ACTIVATIONS[activation]
        return self.op(kind, inputs, **settings)


def _feedforward(graph: _Graph, policy: Feedforward, seen: str) -> str:
    """The units below the heads."""
    planes = COMMON if policy.ignores_rare else COMMON + RARE
    cells = _cells(graph, policy, seen)
    pictures = _around(graph, policy, cells, planes)
    held = _held(graph, policy, cells)
    hidden = graph.op("Concat", graph.op("Flatten", pictures), held, axis=1)
    for layer in dense_layers(policy):
        hidden = graph.active(graph.dense(hidden, layer), policy.config.activation)
    return hidden


def _convolutional(graph: _Graph, policy: Convolutional, seen: str) -> str:
    """The units below the heads."""
    config = policy.config
    cells = _cells(graph, policy, seen)
    if config.view == "grid":
        planes, shape = tuple(range(len(PLANES))), (policy.height, policy.width)
        pictures = graph.op("Transpose", cells, perm=[0, 2, 1])
    else:
        planes = COMMON + RARE
        shape = view_shape(policy.height, policy.width, config.view)
        pictures = _around(graph, policy, cells, planes)
    as_pictures = graph.constant(np.array([0, len(planes), *shape]))
    pictures = graph.op("Reshape", pictures, as_pictures)
    reach, channels = config.kernel // 2, len(planes)
    for matrix, bias in zip(policy.kernels, policy.kernel_biases, strict=True):
        # rows of the matrix are (row, column, channel) of a patch
        kernel = np.asarray(matrix).reshape(config.kernel, config.kernel, channels, -1)
        pictures = graph.op(
            "Conv",
            pictures,
            graph.constant(kernel.transpose(3, 2, 0, 1)),
            graph.constant(np.asarray(bias)),
            pads=[reach] * 4,
        )
        pictures = graph.active(pictures, config.activation)
        channels = kernel.shape[-1]
    held = _held(graph, policy, cells)
    hidden = graph.op("Concat", graph.op("Flatten", pictures), held, axis=1)
    for matrix, bias in zip(policy.trunk, policy.biases, strict=True):
        layer = Layer(np.asarray(matrix), np.asarray(bias))
        hidden = graph.active(graph.dense(hidden, layer), config.activation)
    return hidden


# --- what a network sees -------------------------------------------------------------


def _cells(graph: _Graph, policy: Feedforward | Convolutional, seen: str) -> str:
    """[batch, cells, planes], row after row."""
    number = policy.height * policy.width
    shape = graph.constant(np.array([0, number, len(PLANES)]))
    return graph.op("Reshape", seen, shape)


def _plane(graph: _Graph, cells: str, plane: int) -> str:
    """One plane, [batch, cells]."""
    return graph.op("Gather", cells, graph.constant(np.array(plane)), axis=2)


def _around(
    graph: _Graph,
    policy: Feedforward | Convolutional,
    cells: str,
    planes: Sequence[int],
) -> str:
    """The view from where the agent stands, [batch, planes, cells of the view]."""
    shape = view_shape(policy.height, policy.width, policy.config.view)
    table = graph.constant(view_table(policy.height, policy.width, shape))
    stands = graph.op("ArgMax", _plane(graph, cells, _AGENT), axis=1, keepdims=0)
    sources = graph.op("Gather", table, stands)
    last = graph.constant(np.array([2]))
    sources = graph.op("Unsqueeze", sources, last)
    # one more cell stands for all that lie outside: nothing but wall
    outside = (np.array(planes) == _WALLS).astype(np.float32)[None, None]
    batch = graph.op("Shape", cells, start=0, end=1)
    rest = graph.constant(np.array([1, len(planes)]))
    size = graph.op("Concat", batch, rest, axis=0)
    outside = graph.op("Expand", graph.constant(outside), size)
    inside = graph.op("Gather", cells, graph.constant(np.array(planes)), axis=2)
    everything = graph.op("Concat", inside, outside, axis=1)
    view = graph.op("GatherND", everything, sources, batch_dims=1)
    return graph.op("Transpose", view, perm=[0, 2, 1])


def view_table(
    height: int, width: int, shape: tuple[int, int]
) -> Int[np.ndarray, "cells seen"]:
    """Which cell each cell of a view shows, by the cell where the agent stands.

    Args:
        height: rows of the grid.
        width: columns of the grid.
        shape: rows and columns of the view.

    Returns:
        Indices of cells, row after row; ``height * width`` for those outside.
    """
    number = height * width
    grid = jnp.arange(number, dtype=jnp.int32).reshape(height, width)
    places = jnp.stack(jnp.divmod(jnp.arange(number), width), axis=1)
    look = jax.vmap(lambda place: centered(grid, place, shape, number).ravel())
    return np.asarray(look(places), np.int64)


def _held(graph: _Graph, policy: Feedforward | Convolutional, cells: str) -> str:
    """The keys in hand as the network is shown them, [batch, bits]."""
    counts = jnp.arange(policy.height * policy.width + 1)
    bits = jax.vmap(lambda held: held_bits(held, policy.height, policy.width))(counts)
    table = graph.constant(np.asarray(bits, np.float32))
    axis = graph.constant(np.array([1]))
    count = graph.op("ReduceSum", _plane(graph, cells, _HELD), axis, keepdims=0)
    return graph.op("Gather", table, graph.op("Cast", count, to=7))  # int64


# --- tied weights as ordinary matrices -----------------------------------------------


def dense_layers(policy: Feedforward) -> list[Layer]:
    """The layers of the trunk as ordinary matrices; inputs are planes, then keys.

    With tied weights, a row is what the layer makes of one input alone.
    """
    if not policy.config.symmetric:
        return [
            Layer(np.asarray(matrices[0]), np.asarray(bias))
            for matrices, bias in policy.weights().trunk
        ]
    return [Layer(*map(np.asarray, layer)) for layer in _untied(policy)]


@eqx.filter_jit
def _untied(policy: Feedforward) -> list[tuple[Array, Array]]:
    layers: list[tuple[Array, Array]] = []
    for matrices, bias in policy.weights().trunk:
        parts = _units(len(layers[-1][1])) if layers else _inputs(policy)
        products = [part @ matrix for part, matrix in zip(parts, matrices, strict=True)]
        nothing = jnp.zeros_like(bias)  # only the even class has a bias
        layers.append((_spread(products), _spread([bias, nothing, nothing, nothing])))
    return layers


def _inputs(policy: Feedforward) -> list[Float[Array, "inputs n"]]:
    """The four classes of every single input."""
    planes = len(COMMON) if policy.ignores_rare else len(COMMON + RARE)
    shape = planes, *view_shape(policy.height, policy.width, policy.config.view)
    bits = num_held_bits(policy.height, policy.width)
    number = int(np.prod(shape))
    one = jnp.eye(number + bits)
    pictures = one[:, :number].reshape(-1, *shape)
    even, *odd = (part.reshape(number + bits, -1) for part in folded(pictures))
    # keys in hand look the same from everywhere
    return [jnp.concatenate([even, one[:, number:]], axis=1), *odd]


def _units(number: int) -> list[Float[Array, "units n"]]:
    """The four classes of every single unit."""
    one = jnp.eye(number).reshape(number, 4, -1)
    return folded_units(one.swapaxes(0, 1))


def _spread(classes: list[Array]) -> Float[Array, "*rows units"]:
    """Units from the products of the four classes."""
    units = jnp.moveaxis(spread(classes), 0, -2)
    return units.reshape(*units.shape[:-2], -1)


def _heads(policy: Feedforward | Convolutional) -> tuple[Layer, Layer]:
    """Actor and critic."""
    if isinstance(policy, Feedforward):
        weights = policy.weights()
        actor, critic = weights.actor, weights.critic
    else:
        actor = policy.actor, policy.actor_bias
        critic = policy.critic, policy.critic_bias
    return (
        Layer(*map(np.asarray, actor)),
        Layer(np.asarray(critic[0])[:, None], np.asarray(critic[1])[None]),
    )
