"""What happens after each epoch: measure, keep the best, save, tell."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from multihot.checkpoint import TrainingState
from multihot.data.loader import Batches
from multihot.data.manifest import Manifest
from multihot.errors import check_choice
from multihot.evaluation import evaluate, evaluate_split, load_predictions, predict, save_evaluation, score_names
from multihot.files import write_json
from multihot.labels import LabelSpace
from multihot.metrics import Evaluation
from multihot.run import Run
from multihot.tracker import log_best, log_examples, log_scores
from multihot.training import Trainer

log = logging.getLogger(__name__)


@dataclass
class Validator:
    """Measures the model on the validation split and keeps the best one; without any image there, the last one."""

    run: Run
    batches: Batches
    monitor: str  # split/metric; lower is better if it ends with _loss, /loss or _error
    space: LabelSpace
    threshold: float | None  # of the decisions; None: the activation's
    evaluate_ema: str  # instead of the raw weights, or beside them
    save: Callable[[nn.Module, Path], None]  # what is trained -> a folder with the whole model; in all processes

    def __post_init__(self):
        check_choice("ema.evaluate", self.evaluate_ema, ("instead", "beside"))
        prefixes = ("val", "val_raw") if self.evaluate_ema == "beside" else ("val",)
        check_choice(
            "monitor", self.monitor, [f"{prefix}/{name}" for prefix in prefixes for name in score_names(self.space)]
        )

    def measure(self, trainer: Trainer, train_loss: float | None) -> None:
        """Adds a row to the history, writes best/ and val/ if it is the best so far, and last/."""
        state, accelerator = trainer.state, trainer.accelerator
        if train_loss is not None:
            state.finish_epoch()
        raw = accelerator.unwrap_model(trainer.model)
        model = raw if trainer.ema is None else trainer.ema.module
        row = {"epoch": state.epoch, "update": state.update}
        if train_loss is not None:
            row["train/loss"] = train_loss
        if len(self.data):
            evaluation, predictions = self.evaluate(trainer, model)
            row |= {f"val/{name}": score for name, score in evaluation.scores.items()}
            if self.evaluate_ema == "beside" and trainer.ema is not None:
                row |= {f"val_raw/{name}": score for name, score in self.evaluate(trainer, raw)[0].scores.items()}
        state.history.append(row)
        if not len(self.data) or is_better(row[self.monitor], state.best_score, self.monitor):
            state.best_score, state.best_epoch = row.get(self.monitor), state.epoch
            self.save(model, self.run.best)
            if accelerator.is_main_process and len(self.data):
                save_evaluation(self.run.split("val"), self.data, *predictions, evaluation)
        if accelerator.is_main_process:
            write_json(self.run.history, state.history)
        trainer.checkpoints.save()
        scores = {name: value for name, value in row.items() if name not in ("epoch", "update")}
        log_scores(accelerator, scores | {"epoch": state.epoch}, state.update)
        log.info(describe(row, self.monitor, is_best=state.best_epoch == state.epoch))

    def has_waited(self, state: TrainingState, patience: int | None) -> bool:
        """Returns whether `patience` epochs have passed without a better score."""
        return patience is not None and state.epoch - state.best_epoch >= patience

    def show_best(self, trainer: Trainer) -> None:
        """Logs the best epoch's table of labels and example images."""
        if trainer.accelerator.is_main_process and len(self.data):
            logits, target = load_predictions(self.run.split("val"))
            evaluation = evaluate(logits, target, self.space, self.threshold)
            decisions = self.space.decide(logits, self.threshold)
            log_examples(trainer.accelerator, evaluation, self.data, decisions, trainer.state.update)
        if trainer.accelerator.is_main_process:
            log_best(trainer.accelerator, self.run)

    @property
    def data(self) -> Manifest:
        """The validation split."""
        return self.batches.loader.dataset.manifest

    def evaluate(self, trainer: Trainer, model: nn.Module) -> tuple[Evaluation, tuple]:
        """Returns scores and table, and (logits, target)."""
        with torch.compiler.set_stance("force_eager"):  # to the bit what evaluate.py computes
            logits = predict(trainer.accelerator, model, self.batches, title="validation")
        evaluation, target = evaluate_split(logits, self.data, self.space, self.threshold, trainer.loss)
        return evaluation, (logits, target)


def is_better(score: float, best: float | None, monitor: str) -> bool:
    """Returns whether a score beats the best so far. A NaN (no label has a positive) beats only nothing.

    >>> is_better(0.7, 0.6, "val/map"), is_better(0.7, 0.6, "val/ranking_loss"), is_better(0.1, None, "val/map")
    (True, False, True)
    """
    if math.isnan(score) or best is None:
        return best is None
    if math.isnan(best):
        return True
    lower = monitor.endswith(("_loss", "/loss", "_error"))
    return score < best if lower else score > best


def describe(row: dict[str, float], monitor: str, is_best: bool) -> str:
    """Returns an epoch in one line.

    >>> describe({"epoch": 2, "update": 50, "train/loss": 0.25, "val/map": 0.5, "val/loss": 0.3}, "val/map", True)
    'epoch 2: train/loss 0.2500  val/loss 0.3000  val/map 0.5000 (best)'
    """
    names = dict.fromkeys(["train/loss", "val/loss", "val/micro_f1", "val/macro_f1", "val/accuracy", monitor])
    scores = "  ".join(f"{name} {row[name]:.4f}" for name in names if name in row)
    title = f"epoch {row['epoch']}" if row["epoch"] else "before training"
    return f"{title}: {scores}" + " (best)" * is_best
