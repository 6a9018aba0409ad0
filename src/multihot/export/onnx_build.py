"""One ONNX model of what is traced, what comes before it and what is behind it, with all that is known as text."""

import json
from collections.abc import Mapping

import numpy as np
import onnx
import timm
import torch
from onnx import helper

import multihot
from multihot.decisions import Decisions
from multihot.export.onnx_answers import create_answers
from multihot.export.onnx_graph import describe, join, part_of
from multihot.export.onnx_names import IMAGE, OUTPUTS, PIXELS
from multihot.export.onnx_pixels import create_normalising, create_preprocessing


def build(traced: onnx.ModelProto, decisions: Decisions, preprocessing: Mapping, kind: str) -> onnx.ModelProto:
    """Returns the model with the outputs logits, probability and decision, each (B, C).

    Args:
        traced: image float32 (B, 3, H, W) to logits float32 (B, C).
        preprocessing: of the model, from `timm.data.resolve_input_data_config`.
        kind: of its input, one of INPUTS: `image` float32 (B, 3, H, W), normalised; or `pixels` uint8 of the model's
            size (B, H, W, 3), or, as photo, of any size.
    """
    channels, height, width = preprocessing["input_size"]
    parts = [part_of(traced), create_answers(decisions)]
    if kind == "image":
        source = describe(IMAGE, np.float32, "batch", channels, height, width)
    elif kind == "pixels":
        parts = [create_normalising(preprocessing), *parts]
        source = describe(PIXELS, np.uint8, "batch", height, width, channels)
    else:
        parts = [create_preprocessing(preprocessing), *parts]
        source = describe(PIXELS, np.uint8, "batch", "height", "width", channels)
    num_labels = len(decisions.space.labels)
    outputs = [
        describe(name, dtype, "batch", num_labels)
        for name, dtype in zip(OUTPUTS, (np.float32, np.float32, np.bool_), strict=True)
    ]
    return join(parts, [source], outputs, like=traced)


def describe_model(
    decisions: Decisions, preprocessing: Mapping, kind: str, precision: str, architecture: str, model_hash: str
) -> dict[str, str]:
    """Returns what the metadata of the file say; what is no word is JSON."""
    space = decisions.space.to_config()
    values = {
        "labels": space["labels"],
        "groups": space["groups"],
        "thresholds": decisions.thresholds(),  # of calibrated probabilities; null in groups
        "cuts": decisions.to_config()["cuts"],  # the same as logits
        "decisions": {"description": decisions.description, "sha256": decisions.sha256},
        "preprocessing": {name: preprocessing[name] for name in sorted(preprocessing)},
        "versions": {
            "multihot": multihot.__version__, "torch": torch.__version__, "timm": timm.__version__,
            "onnx": onnx.__version__,
        },
    }  # fmt: skip
    words = {"input": kind, "precision": precision, "architecture": architecture, "model_hash": model_hash}
    return words | {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def add_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Writes metadata into a model."""
    helper.set_model_props(model, dict(metadata))
