"""Fits decisions to the known answers of a split, and says on other images what they bring."""

from collections.abc import Mapping
from typing import Protocol

import torch
from scipy.special import expit

from multihot.decisions.aims import Own
from multihot.decisions.calibration import calibrate
from multihot.decisions.decisions import Decisions
from multihot.decisions.evidence import Evidence
from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget


class Aim(Protocol):
    """What thresholds are chosen for."""

    def common(self, evidence: Evidence) -> float:
        """Returns the best threshold of all labels, as calibrated log-odds."""

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the best cuts of labels by themselves."""


def fit_decisions(
    matrices: LogitsAndTarget,
    space: LabelSpace,
    aim: Aim,
    *,
    per_label: bool = False,
    calibration: str = "platt",
    fitted: Mapping | None = None,
) -> Decisions:
    """Returns calibration and thresholds that are the best for an aim on logits (N, C) and their known answers.

    Args:
        per_label: each label has a threshold of its own, else all share one calibrated probability.
        calibration: platt | beta | isotonic | none.
        fitted: to what; it is kept with them.

    Raises:
        InputError: no answer is present, or what the aim promises cannot be promised.
    """
    own, kept, common = {}, {}, None
    evidence = Evidence(matrices, space, calibrate(matrices, space, calibration))
    cuts = torch.full((len(space.labels),), torch.nan)
    if space.independent:
        if not evidence.positives[0].size:
            raise InputError("no label is known to be on an image: there is nothing to fit thresholds to")
        common = aim.common(evidence)
        for column in space.independent:
            cuts[column] = evidence.calibration.find_cut(column, common)
        if per_label:
            own, kept = aim.own(evidence, common)
            for column, cut in own.items():
                cuts[column] = cut
    return Decisions(
        space, cuts, evidence.calibration, None if common is None else float(expit(common)), tuple(sorted(own)),
        {space.labels[column]: reason for column, reason in sorted(kept.items())}, fitted or {},
    )  # fmt: skip
