"""Parts of an ONNX graph, node by node, and the one model that they become behind each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

PRODUCER = "multihot"  # stands in the first bytes of the file


@dataclass
class Part:
    """Nodes with the constants that they read; names in it begin with its own."""

    name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, *inputs: str | np.ndarray, output: str | None = None, **attributes: object) -> str:
        """Adds a node and returns the name of its output; an array among the inputs becomes a constant."""
        inputs = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        name = f"{self.name}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output or name], name, **attributes))
        return output or name

    def constant(self, values: np.ndarray) -> str:
        """Returns the name of a new constant."""
        name = f"{self.name}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def join(
    parts: Sequence[Part],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    like: onnx.ModelProto,
) -> onnx.ModelProto:
    """Returns the model of parts that read each other's outputs by name, in this order, of the versions of another."""
    nodes = [node for part in parts for node in part.nodes]
    constants = [constant for part in parts for constant in part.constants]
    graph = helper.make_graph(nodes, PRODUCER, inputs, outputs, constants)
    return helper.make_model(
        graph, producer_name=PRODUCER, ir_version=like.ir_version, opset_imports=like.opset_import,
        functions=like.functions,
    )  # fmt: skip


def part_of(model: onnx.ModelProto) -> Part:
    """Returns the nodes and constants of a model, without what torch says of their origin: paths of this machine."""
    part = Part("model", list(model.graph.node), list(model.graph.initializer))
    for each in (*part.nodes, *part.constants):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    return part


def describe(name: str, dtype: type, *shape: int | str) -> onnx.ValueInfoProto:
    """Returns an input or output: words in its shape are sizes that may be any."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
