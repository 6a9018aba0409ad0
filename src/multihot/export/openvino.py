"""The metadata by which OpenVINO's Model API (openvino-model-api) builds its wrapper around a model.onnx."""

from collections.abc import Mapping

import numpy as np

from multihot.decisions import Decisions

RESIZES = {"squash": "standard", "center": "crop"}
INTERPOLATIONS = {"bilinear": "LINEAR", "bicubic": "CUBIC", "nearest": "NEAREST"}


def describe_for_openvino(decisions: Decisions, preprocessing: Mapping, kind: str) -> dict[str, str]:
    """Returns the keys of `model_info` with their values as that reads them: lists by blanks, so that a blank in a
    label's name becomes `_`.

    It applies its own sigmoid or softmax to the first output, `logits`, and knows one threshold for all labels; nothing
    is returned where that would decide otherwise: groups beside others, or labels with thresholds of their own.
    """
    space = decisions.space
    cuts = decisions.cuts.numpy()[space.independent]
    if kind != "image" or not (space.is_single_label or (not space.groups and len(np.unique(cuts)) == 1)):
        return {}
    mean, std = (255 * np.array(preprocessing[name]) for name in ("mean", "std"))
    info = {
        "model_type": "Classification",
        "labels": " ".join("_".join(label.split()) for label in space.labels),
        "multilabel": str(not space.groups),
        "mean_values": " ".join(map(str, mean.tolist())),
        "scale_values": " ".join(map(str, std.tolist())),
        "reverse_input_channels": "False",  # pictures are given as RGB
        "resize_type": RESIZES.get(preprocessing["crop_mode"], "crop"),
        "interpolation_mode": INTERPOLATIONS.get(preprocessing["interpolation"], "LINEAR"),
    }
    if not space.groups:
        info["confidence_threshold"] = str(float(1 / (1 + np.exp(-float(cuts[0])))))
    return {f"model_info {name}": value for name, value in info.items()}
