"""A Stable-Baselines3 actor with discrete actions as an ONNX file, obs -> logits."""

import io
import logging
import warnings

import onnx
import torch


class Logits(torch.nn.Module):
    """Only the actor: what PPO draws actions from, without the drawing."""

    def __init__(self, policy):
        super().__init__()
        self.features = policy.pi_features_extractor
        self.hidden = policy.mlp_extractor.policy_net
        self.last = policy.action_net

    def forward(self, obs):
        return self.last(self.hidden(self.features(obs)))


def export(model, path):
    """Write the actor of a PPO or A2C model; Float[b, n] in, Float[b, actions] out."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = torch.zeros(2, *model.observation_space.shape)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(model.policy).eval(),
            (example,),
            buffer,
            input_names=["obs"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    found = onnx.load_from_string(buffer.getvalue())
    forget(found)
    onnx.checker.check_model(found)
    path.write_bytes(found.SerializeToString())


def forget(found):
    """Take out what the exporter says of the machine: stack traces with its folders."""
    graph = found.graph
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (found, graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""
