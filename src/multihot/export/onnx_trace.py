"""A timm model as an ONNX model: image float32 (B, 3, H, W), normalised, to logits float32 (B, C), for any B."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from timm.layers import set_fused_attn, use_fused_attn
from torch import nn

from multihot.errors import InputError, first_line
from multihot.export.onnx_names import IMAGE, LOGITS

OPSET = 20  # the lowest that onnxruntime has kernels of LayerNormalization, Gelu and an antialiased Resize for
PRINTING = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")  # loggers
NUM_EXAMPLES = 2  # traced with one image, some models have an output of one row for any batch
HEAD_KINDS = ("MatMul", "Gemm", "Einsum")  # the last of these, and all behind it, stay in float32


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Lets models that are created inside compute attention step by step: several cannot be traced otherwise."""
    before = {"enable": use_fused_attn(), "experimental": use_fused_attn(experimental=True)}
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(**before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what torch and onnxscript print of their own steps from the screen."""
    levels = {name: logging.getLogger(name).level for name in PRINTING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def trace(model: nn.Module, size: tuple[int, int, int]) -> onnx.ModelProto:
    """Returns the ONNX model of a timm model in evaluation mode.

    Args:
        model: created inside `unfused_attention`.
        size: of an image, (3, H, W).

    Raises:
        InputError: torch cannot export this model.
    """
    proto = export(model, size, optimize=True)
    if not is_whole(proto.graph):
        proto = export(model, size, optimize=False)
    rows = proto.graph.output[0].type.tensor_type.shape.dim[0]
    if not rows.dim_param:
        raise InputError(
            f"{type(model).__name__} cannot be written as ONNX: traced, it gives {rows.dim_value} rows for any batch"
        )
    return proto


def export(model: nn.Module, size: tuple[int, int, int], *, optimize: bool) -> onnx.ModelProto:
    """Returns what torch makes of a model.

    Args:
        optimize: with onnxscript's simplifications.
    """
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (torch.zeros(NUM_EXAMPLES, *size),),
                dynamo=True,
                dynamic_shapes=({0: "batch"},),  # by a torch.export.Dim a `len(tensor)` fixes it to 2, silently
                input_names=[IMAGE],
                output_names=[LOGITS],
                opset_version=OPSET,
                verbose=False,
                optimize=optimize,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = first_line(error.__cause__ or error)
        raise InputError(
            f"{type(model).__name__} cannot be written as ONNX: torch {torch.__version__} does not export it ({reason})"
        ) from error
    return program.model_proto


def is_whole(graph: onnx.GraphProto) -> bool:
    """Returns whether each node reads what is there: onnxscript 0.7.2 simplifies some outputs away that are read."""
    known = {"", *(each.name for each in (*graph.input, *graph.initializer))}
    for node in graph.node:
        if not known.issuperset(node.input):
            return False
        known.update(node.output)
    return True


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with weights and products in float16, its head, input and output in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    nodes = model.graph.node
    last = max((place for place, node in enumerate(nodes) if node.op_type in HEAD_KINDS), default=len(nodes))
    with quiet():
        converted = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=[node.name for node in nodes[last:]]
        )
        result = OnnxModel(converted)
        result.topological_sort()  # casts were added behind what reads them
    return result.model
