"""What happens after each epoch: measure, keep the best, save, tell."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate import Accelerator
from omegaconf import OmegaConf
from torch import nn

from multihot.data.answer_kinds import count_kinds
from multihot.data.loader import Batches, ManifestDataset
from multihot.data.manifest import Manifest
from multihot.evaluation.predict import predict, save_evaluation, staging
from multihot.evaluation.predictions import Predictions, hash_model, identify
from multihot.evaluation.scores import evaluate, evaluate_split
from multihot.failures import explaining_failures
from multihot.files import write_json, writing
from multihot.labels import LabelSpace
from multihot.loss import MultiLabelLoss
from multihot.metrics import Evaluation
from multihot.monitor import is_better
from multihot.run.checkpoint import PLAIN, TrainingState, name_layout
from multihot.run.folder import HISTORY_FILE, Run, in_process_0
from multihot.training.epoch import Trainer
from multihot.training.trained import Trained

log = logging.getLogger(__name__)


@dataclass
class Validator:
    """Measures the model on the validation split and keeps the best one; without any image there, the last one."""

    run: Run
    batches: Batches
    monitor: str  # split/metric; lower is better if it ends with _loss, /loss or _error
    space: LabelSpace
    threshold: float | None  # of the decisions; None: the activation's
    trained: Trained

    def measure(self, trainer: Trainer, train_loss: float | None) -> None:
        """Adds a row to the history, writes best/ and val/ if it is the best so far, and last/.

        A process that is asked to stop while it measures saves the epoch that it has trained, and measures it when it
        goes on.
        """
        state, accelerator = trainer.state, trainer.accelerator
        model = accelerator.unwrap_model(trainer.model) if trainer.ema is None else trainer.ema.module
        scores = {} if train_loss is None else {"train/loss": train_loss}
        identity = self.identity if accelerator.is_main_process and self.is_exact(accelerator) else None
        with self.measured(trainer, model) as evaluation:
            scores |= {f"val/{name}": score for name, score in evaluation.scores.items()}
            if train_loss is not None:
                state.finish_epoch()
            row = {"epoch": state.epoch, "update": state.update, **scores}
            if math.isnan(row.get(self.monitor, 0)):
                log.warning("%s is nan after epoch %d, which is better than no number", self.monitor, state.epoch)
            state.history.append(row)
            with writing(self.run.folder, trainer.checkpoints.way_out()):
                if not len(self.data) or is_better(row[self.monitor], state.best_score, self.monitor):
                    state.best_score, state.best_epoch = row.get(self.monitor), state.epoch
                    self.trained.save(model, self.run.best)
                    if accelerator.is_main_process and len(self.data):
                        origin = identity and {**identity, "model": hash_model(self.run.best)}
                        save_evaluation(self.run.split("val"), evaluation, origin)
                if accelerator.is_main_process:
                    write_json(self.run.folder / HISTORY_FILE, state.history)
        trainer.checkpoints.save()
        trainer.tracker.log(scores | {"epoch": state.epoch}, state.update)
        log.info(sum_up(row, self.monitor, is_best=state.best_epoch == state.epoch))

    def warn_of_older_scores(self, state: TrainingState) -> None:
        """Warns where epochs were measured by a version in which labels without a known negative had AP 1 in `map`."""
        row = state.history[-1] if state.history else {}
        is_older = "val/map" in row and "val/num_labels_ranked" not in row
        if is_older and count_kinds(self.data).only_present.any():
            log.warning(
                "val/map of the %d epochs so far counts labels without a known negative as 1, from now on they are "
                "left out: a new run compares its epochs better", len(state.history),
            )  # fmt: skip

    def has_waited(self, state: TrainingState, patience: int | None) -> bool:
        """Returns whether `patience` epochs have passed without a better score."""
        return patience is not None and state.epoch - state.best_epoch >= patience

    def show_best(self, trainer: Trainer) -> None:
        """Tells the tracker the best epoch's table of labels and example images."""
        if trainer.tracker.shows_examples and len(self.data):
            predictions = Predictions.load(self.run.split("val"), self.space)
            evaluation = evaluate(predictions, self.threshold)
            trainer.tracker.log_examples(
                evaluation, self.data, lambda rows: self.decide(predictions.logits[rows]), trainer.state.update
            )
        trainer.tracker.log_best()

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns which labels are predicted, bool (B, C), by the run's own threshold: logits (B, C)."""
        return self.space.decide(logits, self.threshold)

    @property
    def data(self) -> Manifest:
        """The validation split."""
        return self.batches.manifest

    @contextmanager
    def measured(self, trainer: Trainer, model: nn.Module) -> Iterator[Evaluation]:
        """Gives all processes the scores and the table of a model; its predictions are those of the staged folder."""
        if not len(self.data):
            yield Evaluation({}, [])
            return
        end_if_asked = partial(trainer.checkpoints.end_if_asked, is_saved=False)
        way_out = trainer.checkpoints.way_out()
        with staging(self.run.split("val")) as folder:
            with (
                torch.compiler.set_stance("force_eager"),  # to the bit what evaluate.py computes
                explaining_failures(lambda: "in the validation", trainer.advice()),
            ):
                predict(
                    trainer.accelerator, self.trained.measured(model), self.batches, folder, "validation",
                    way_out=way_out, after_batch=end_if_asked,
                )  # fmt: skip
            yield in_process_0(partial(self.score, folder, trainer.loss))

    def score(self, folder: Path, loss: MultiLabelLoss) -> Evaluation:
        """Returns the scores and the table of the predictions in a folder."""
        predictions = Predictions.load(folder, self.space)
        return evaluate_split(predictions, self.threshold, loss, len(self.data.dropped))

    def is_exact(self, accelerator: Accelerator) -> bool:
        """Returns whether evaluate.py computes the same logits to the bit: features may have been computed in other
        batches, and parts of a model be kept in another precision.
        """
        return isinstance(self.batches.dataset, ManifestDataset) and name_layout(accelerator) == PLAIN

    @cached_property
    def identity(self) -> dict[str, object]:
        """What the predictions depend on besides the model, as the data is before its images are read."""
        return identify(self.data, self.space, OmegaConf.to_container(self.run.read_config()))


def sum_up(row: dict[str, float], monitor: str, is_best: bool) -> str:
    """Returns an epoch in one line.

    >>> sum_up({"epoch": 2, "update": 50, "train/loss": 0.25, "val/map": 0.5, "val/loss": 0.3}, "val/map", True)
    'epoch 2: train/loss 0.2500  val/loss 0.3000  val/map 0.5000 (best)'
    >>> sum_up({"epoch": 0, "update": 0}, "val/map", True)  # data.val_fraction=0
    'before training: nothing to measure'
    """
    names = dict.fromkeys(["train/loss", "val/loss", "val/micro_f1", "val/macro_f1", "val/accuracy", monitor])
    scores = "  ".join(f"{name} {row[name]:.4f}" for name in names if name in row)
    title = f"epoch {row['epoch']}" if row["epoch"] else "before training"
    return f"{title}: {scores or 'nothing to measure'}" + " (best)" * (is_best and monitor in row)
