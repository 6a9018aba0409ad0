"""Decisions: what turns the logits of a model into answers, and what that was fitted to; one JSON file."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from multihot import json_shapes
from multihot.decisions.calibration import Calibration, read_calibration
from multihot.files import damaged, read_json, write_json
from multihot.labels import ACTIVATIONS, LabelSpace

DECISIONS_FILE = "decisions.json"
LARGEST = int(np.float32(np.finfo(np.float32).max).view(np.uint32))  # finite number, counted from 0


@dataclass(frozen=True)
class Decisions:
    """Calibrated probabilities and thresholds of C labels.

    An independent label is predicted where its logit is above its cut; of a group the label with the largest logit is.
    """

    space: LabelSpace
    cuts: Tensor  # float32 (C,) of logits; NaN in groups
    calibration: Calibration
    common: float | None  # the threshold of all labels, a calibrated probability; None: there are only groups
    own: tuple[int, ...] = ()  # columns of the labels that have a threshold of their own
    kept: Mapping[str, str] = field(default_factory=dict)  # labels without, though each shall have one: why
    fitted: Mapping = field(default_factory=dict)  # aim, split and hashes of what they were fitted to

    @classmethod
    def by_threshold(cls, space: LabelSpace, threshold: float | Sequence[float] | None = None) -> "Decisions":
        """Returns those of thresholds that nobody fitted: what `space.decide` does, and logits as they are.

        Args:
            threshold: on the scale of the activation, one or one a label; None: the activation's own.
        """
        cuts = find_cuts(space, threshold)
        own = () if threshold is None or np.ndim(threshold) == 0 else tuple(space.independent)
        common = float(expit(cuts[space.independent[0]].item())) if space.independent and not own else None
        if common is not None and space.activation == "sigmoid":
            common = float(0.5 if threshold is None else threshold)
        calibration = Calibration(space, "none", [None] * len(space.labels), [1.0] * len(space.groups))
        return cls(space, cuts, calibration, common, own)

    def decide(self, logits: Tensor) -> Tensor:
        """Returns which labels are predicted, bool (N, C): logits (N, C)."""
        decision = logits > self.cuts.to(logits.device)
        if self.space.groups:
            grouped = [column for columns in self.space.columns for column in columns]
            decision[:, grouped] = self.space.decide(logits)[:, grouped]
        return decision

    def probability(self, logits: Tensor) -> Tensor:
        """Returns calibrated probabilities float32 (N, C): logits (N, C); inside a group they sum to 1."""
        return torch.sigmoid(self.calibration.log_odds(logits.cpu().float())).float()

    def thresholds(self) -> list[float | None]:
        """Returns each label's threshold as a calibrated probability, (C,); None in groups."""
        result: list[float | None] = [None] * len(self.space.labels)
        for column in self.space.independent:
            if column in self.own:
                log_odds = self.calibration.of_label(column, self.cuts[column : column + 1].numpy())
                result[column] = float(expit(log_odds[0]))
            else:
                result[column] = self.common
        return result

    @property
    def description(self) -> str:
        """How they were chosen, in words; those of several runs can be compared if it is the same."""
        return self.fitted.get("description", "")

    @cached_property
    def sha256(self) -> str:
        """A hash of all that decides."""
        return hashlib.sha256(json.dumps(self.to_config(), sort_keys=True).encode()).hexdigest()

    def to_config(self) -> dict:
        """Returns what `from_config` needs, as JSON can hold it."""
        return {
            "label_space": self.space.to_config(),
            "common_threshold": self.common,
            "cuts": [None if math.isnan(cut) else cut for cut in self.cuts.tolist()],
            "thresholds": self.thresholds(),
            "own": list(self.own),
            "kept": dict(self.kept),
            "calibration": self.calibration.to_config(),
            "fitted": dict(self.fitted),
        }

    @classmethod
    def from_config(cls, config: Mapping) -> "Decisions":
        """Returns the decisions that `to_config` has written; raises ValueError or LookupError for other content."""
        space = LabelSpace.from_config(config["label_space"])
        cuts = [math.nan if cut is None else cut for cut in config["cuts"]]
        calibration = read_calibration(config["calibration"], space)
        if len(cuts) != len(space.labels) or {k for k, cut in enumerate(cuts) if cut == cut} != set(space.independent):
            raise ValueError("its cuts are of other labels")
        return cls(
            space, torch.from_numpy(np.array(cuts, np.float32)), calibration, config["common_threshold"],
            tuple(config["own"]), config["kept"], config["fitted"],
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Writes them into a folder."""
        write_json(folder / DECISIONS_FILE, self.to_config())

    @classmethod
    def load(cls, folder: Path) -> "Decisions":
        """Returns those of a folder; raises InputError if they are not there or damaged."""
        path = folder / DECISIONS_FILE
        config = read_json(path, json_shapes.DECISIONS)
        try:
            return cls.from_config(config)
        except (ValueError, LookupError, TypeError) as error:  # InputError too
            raise damaged(path, error) from error


def find_cuts(space: LabelSpace, threshold: float | Sequence[float] | None = None) -> Tensor:
    """Returns the largest logit of each label that its threshold does not let pass, float32 (C,); NaN in groups.

    It is found among the float32 numbers, so that `logit > cut` and `activation(logit) > threshold` are the same; a
    little above 0 the sigmoid is still 0.5.

    >>> find_cuts(LabelSpace(("cat", "dog")), [0.5, 0.75]).numpy().round(2).astype(str).tolist()
    ['0.0', '1.1']
    """
    activation, num_labels = ACTIVATIONS[space.activation], len(space.labels)
    threshold = activation.threshold if threshold is None else threshold
    threshold = torch.as_tensor(threshold, dtype=torch.float32).expand(num_labels)
    low, high = torch.full((num_labels,), -LARGEST), torch.full((num_labels,), LARGEST)  # as integers they are in order
    for _ in range(32):
        middle = (low + high).div(2, rounding_mode="floor")
        passes = activation.function(to_float(middle)) > threshold
        low, high = torch.where(passes, low, middle), torch.where(passes, middle, high)
    cuts = to_float(low)
    cuts[[column for columns in space.columns for column in columns]] = math.nan
    return cuts


def to_float(order: Tensor) -> Tensor:
    """Returns the float32 numbers that are `order` int64 steps above 0."""
    bits = torch.where(order < 0, -order + (1 << 31), order)
    return torch.from_numpy(bits.numpy().astype(np.uint32).view(np.float32))
