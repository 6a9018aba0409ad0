"""Decisions: what turns the logits of a model into answers, and what that was fitted to; one JSON file."""

import hashlib
import json
import math
from collections.abc import Mapping
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
from multihot.labels import LabelSpace

DECISIONS_FILE = "decisions.json"


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
