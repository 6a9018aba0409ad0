"""A folder that Triton Inference Server serves: config.pbtxt, labels.txt and 1/model.onnx."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from multihot.export.onnx_names import PROBABILITY

CONFIG, LABELS_FILE, VERSION = "config.pbtxt", "labels.txt", "1"
TYPES = {TensorProto.FLOAT: "TYPE_FP32", TensorProto.UINT8: "TYPE_UINT8", TensorProto.BOOL: "TYPE_BOOL"}
DELAY_MICROSECONDS = 5000  # for which an image waits for others


def describe_for_triton(model: onnx.ModelProto, name: str, max_batch_size: int) -> str:
    """Returns config.pbtxt: dims are without the batch, -1 is a size that may be any."""
    parts = [
        "# written by multihot",
        f"name: {quote(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {max_batch_size}",
        describe_tensors("input", model.graph.input),
        describe_tensors("output", model.graph.output),
        f"dynamic_batching {{\n  max_queue_delay_microseconds: {DELAY_MICROSECONDS}\n}}",
    ]
    return "\n".join(parts) + "\n"


def describe_tensors(field: str, tensors: Iterable[onnx.ValueInfoProto]) -> str:
    """Returns the field of all inputs or outputs."""
    inside = ",\n".join(map(describe_tensor, tensors))
    return f"{field} [\n{inside}\n]"


def describe_tensor(tensor: onnx.ValueInfoProto) -> str:
    """Returns name, type and size of an input or output; the labels belong to the probabilities."""
    kind = tensor.type.tensor_type
    dims = [dim.dim_value or -1 for dim in kind.shape.dim[1:]]
    lines = [f"name: {quote(tensor.name)}", f"data_type: {TYPES[kind.elem_type]}", f"dims: {dims}"]
    lines += [f"label_filename: {quote(LABELS_FILE)}"] if tensor.name == PROBABILITY else []
    return "\n".join(["  {", *(f"    {line}" for line in lines), "  }"])


def quote(text: str) -> str:
    """Returns a string of a text protobuf.

    >>> print(quote('a "b"'))
    "a \\"b\\""
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write_labels(folder: Path, labels: Sequence[str]) -> None:
    """Writes labels.txt, a label a line."""
    (folder / LABELS_FILE).write_text("".join(f"{' '.join(label.split())}\n" for label in labels), encoding="utf-8")
