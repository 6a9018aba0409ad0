"""What a run has said of a split: predictions, decisions, scores, and what it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from omegaconf import DictConfig
from scipy.special import logit
from torch import Tensor

from multihot.data import create_reader
from multihot.data.value_range import read_value_range
from multihot.decisions import Decisions
from multihot.errors import InputError, first_line
from multihot.evaluation.decided import is_fitted_to, read_decisions
from multihot.evaluation.predictions import MATRICES, ORIGIN, Predictions
from multihot.files import read_json
from multihot.json_shapes import DATA_REPORT, METRICS
from multihot.labels import LabelSpace
from multihot.metrics.checks import list_thresholds
from multihot.report.pictures import Album
from multihot.run.folder import COUNTS_FILE, Run
from multihot.seal import read_seal


class Decides(Protocol):
    """What turns logits into answers."""

    cuts: np.ndarray  # (C,) on the scale of logits; NaN where the largest of a group decides

    def decide(self, logits: Tensor) -> Tensor:
        """Returns which labels are predicted, bool (N, C)."""

    def probability(self, logits: Tensor) -> Tensor:
        """Returns each label's probability (N, C)."""


@dataclass(frozen=True)
class ByThreshold:
    """Decides as `space.decide` does, by one threshold or by each label's; its probabilities are not calibrated."""

    space: LabelSpace
    threshold: float | Sequence[float] | None = None

    @property
    def cuts(self) -> np.ndarray:
        """Where the activation reaches the threshold, float32 (C,)."""
        thresholds = np.float64(list_thresholds(self.threshold, self.space))  # None is NaN
        inverse = {"sigmoid": logit, "tanh": np.arctanh, "identity": np.asarray}[self.space.activation]
        return np.float32(inverse(thresholds))

    def decide(self, logits: Tensor) -> Tensor:
        """Returns which labels are predicted, bool (N, C)."""
        return self.space.decide(logits, self.threshold)

    def probability(self, logits: Tensor) -> Tensor:
        """Returns each label's probability (N, C)."""
        return self.space.probability(logits)


@dataclass(frozen=True)
class Result:
    """One run on one split."""

    name: str
    split: str
    predictions: Predictions
    decisions: Decides
    fitted: Decisions | None  # the decisions if they were fitted
    is_seen: bool  # they were fitted to these very images
    metrics: Mapping[str, object]
    history: Sequence[Mapping]
    settings: Mapping
    counts: Mapping | None  # of the train split

    @property
    def space(self) -> LabelSpace:
        """The labels."""
        return self.predictions.space

    @property
    def monitor(self) -> str:
        """The score by which the best epoch was chosen."""
        return self.settings["monitor"]


def read_result(run: Run, settings: Mapping, space: LabelSpace, split: str) -> Result:
    """Returns what a run has said of a split; raises InputError if it was not evaluated on it, or a file is damaged."""
    folder = run.split(split)
    if not (folder / MATRICES).exists():
        raise InputError(
            f"{run.folder} has no predictions of the {split} split: python evaluate.py run={run.folder} split={split}"
        )
    predictions = Predictions.load(folder, space)
    metrics = read_json(folder / "metrics.json", METRICS)
    decisions = read_decisions(run, predictions.space)
    data = (read_seal(folder, ORIGIN) or {}).get("data", "")
    return Result(
        name=run.folder.resolve().name,
        split=split,
        predictions=predictions,
        decisions=decisions or ByThreshold(predictions.space, usable(metrics.get("threshold"))),
        fitted=decisions,
        is_seen=decisions is not None and is_fitted_to(decisions, split, data),
        metrics=metrics,
        history=run.read_history(),
        settings=settings,
        counts=run.read_counts(len(space.labels)) if (run.folder / COUNTS_FILE).exists() else None,
    )


def usable(threshold: float | Sequence[float | None] | None) -> float | list[float] | None:
    """Returns a threshold of metrics.json as `LabelSpace.decide` takes it."""
    return [np.nan if value is None else value for value in threshold] if isinstance(threshold, list) else threshold


def name_file(runs: Sequence[Run], split: str) -> Path:
    """Returns where the report of a run, or of two, is written if nothing else is said."""
    beside = "".join(f"_{run.folder.resolve().name}" for run in runs[1:])
    return runs[0].split(split) / f"report{beside}.html"


def open_album(data: DictConfig, split: str, labels: tuple[str, ...]) -> Album:
    """Returns what reads the pictures of a split, or says why nothing does.

    Args:
        data: the settings of the run's data.
    """
    try:
        manifest = create_reader(data)(split, labels=labels, must_exist=False)
        return Album(manifest.with_value_range(read_value_range(data.value_range, data.window)).read)
    except (InputError, OSError) as error:
        return Album(None, first_line(error))


def read_doctor(path: str | None) -> Mapping | None:
    """Returns the report about the data; raises InputError if the file holds none."""
    return None if path is None else read_json(Path(path), DATA_REPORT)
