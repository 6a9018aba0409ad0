"""Files that programs for taggers read beside a timm model: tags, where to cut each, and what to do with a picture.

SmilingWolf's taggers and their users brought `selected_tags.csv`; deepghs/imgutils and animetimm's models added
`best_threshold`, `thresholds.csv`, `categories.json` and `preprocess.json`. All of them decide by
sigmoid(logit) >= threshold, without calibration.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from timm.data import create_transform
from timm.data.transforms import MaybeToTensor
from torch import Tensor
from torchvision.transforms import CenterCrop, Normalize, Resize

from multihot.data.csv_writer import format_csv
from multihot.decisions import Decisions
from multihot.errors import InputError
from multihot.files import write_json, write_text

TAGGER_FILES = ("selected_tags.csv", "thresholds.csv", "categories.json", "preprocess.json")
GENERAL = {"category": 0, "name": "general"}  # of WD14's categories the one without a rule of its own
INSIDE = 0.75  # of the way from one float32 to the next: rounds to the next, and is above the first in float64 too


def write_tagger_files(folder: Path, decisions: Decisions, counts: Sequence[int], preprocessing: Mapping) -> None:
    """Writes TAGGER_FILES into a folder.

    Args:
        counts: how often each label was seen in training (C,).
        preprocessing: of the model, as timm resolves it.

    Raises:
        InputError: such programs cannot decide or preprocess as this model does.
    """
    steps = describe_steps(preprocessing)
    if decisions.space.groups:
        raise InputError("labels that exclude each other have no threshold: the largest of a group decides")
    thresholds = threshold_from(decisions.cuts)
    columns = [range(len(counts)), decisions.space.labels, [GENERAL["category"]] * len(counts), counts, thresholds]
    header = ["tag_id", "name", "category", "count", "best_threshold"]
    write_text(folder / "selected_tags.csv", format_csv(header, zip(*columns, strict=True)))
    common = [GENERAL["category"], GENERAL["name"], float(np.median(thresholds))]
    write_text(folder / "thresholds.csv", format_csv(["category", "name", "threshold"], [common]))
    write_json(folder / "categories.json", [GENERAL])
    write_json(folder / "preprocess.json", {"test": steps, "val": steps})


def threshold_from(cuts: Tensor) -> list[float]:
    """Returns the thresholds from which on a sigmoid is of a logit above its cut: float32 cuts (C,) of logits.

    `sigmoid(logit) >= threshold` decides as `logit > cut` does, but for logits that the rounding of a sigmoid cannot
    tell from the cut, which are not predicted. It does so in float32, to whose next number they round, and in float64.

    >>> [threshold] = threshold_from(torch.tensor([0.0]))
    >>> np.float32(threshold) == np.nextafter(np.float32(0.5), np.float32(1)), threshold > 0.5
    (np.True_, True)
    """
    exact = torch.sigmoid(cuts.double()).float()
    at_cut = torch.maximum(torch.sigmoid(cuts), exact).numpy()  # torch's float32 may be one number off
    after = np.nextafter(at_cut, np.float32(np.inf)).astype(np.float64)
    return (at_cut + INSIDE * (after - at_cut)).tolist()


def describe_steps(preprocessing: Mapping) -> list[dict[str, object]]:
    """Returns timm's steps for a picture as imgutils writes them; raises InputError for one that it has not."""
    steps = []
    for step in create_transform(**preprocessing, is_training=False).transforms:
        if type(step) is Resize:
            size = step.size if isinstance(step.size, int) else list(step.size)
            interpolation = step.interpolation.value
            own = {"type": "resize", "size": size, "interpolation": interpolation, "max_size": None, "antialias": True}
        elif type(step) is CenterCrop:
            own = {"type": "center_crop", "size": list(step.size)}
        elif type(step) is MaybeToTensor:
            own = {"type": "maybe_to_tensor"}
        elif type(step) is Normalize:
            own = {"type": "normalize", "mean": list(preprocessing["mean"]), "std": list(preprocessing["std"])}
        else:
            raise InputError(f"preprocess.json has no word for {type(step).__name__}")
        steps.append(own)
    return steps
