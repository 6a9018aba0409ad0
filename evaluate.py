"""Evaluates the best model of a run on a split, from nothing but the run folder.

python evaluate.py run=runs/<name> split=test
"""

import json
import logging
from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Writes runs/<name>/<split>/: metrics.json, labels.csv and the predictions; prints a table."""
    from timm.data import resolve_input_data_config  # torch and timm, which --help need not wait for

    from multihot.data import create_reader, load_split
    from multihot.data.bad_images import save_dropped
    from multihot.data.loader import create_evaluation_batches
    from multihot.errors import InputError
    from multihot.evaluation import evaluate_split, format_evaluation, predict, save_evaluation
    from multihot.failures import explaining_failures
    from multihot.loss import create_loss
    from multihot.model.saved import load_model
    from multihot.run import load_run
    from multihot.session import open_session, start_processes

    start_processes()
    changes = ("data", "threshold", "batch_size", "num_workers", "mixed_precision")
    run, trained, labels = load_run(cfg.run, changes={key: cfg[key] for key in changes})
    with open_session(trained.mixed_precision, trained.kernels, trained.model, trained.seed) as session:
        accelerator = session.accelerator
        data = load_split(
            create_reader(trained.data),
            cfg.split,
            labels,
            max_images=trained.max_images,
            bad_images=trained.data.bad_images,
            cache_folder=trained.data.cache_folder,
            num_workers=trained.num_workers,
        )
        if not data.label_count().any():
            raise InputError(f"none of the {len(data)} {cfg.split} images has a label: there is nothing to measure")
        space = data.label_space(trained.single_label, trained.activation)
        model = load_model(run.best, labels).to(accelerator.device)
        batches = create_evaluation_batches(
            data,
            accelerator=accelerator,
            preprocessing=resolve_input_data_config(model),
            batch_size=trained.batch_size,
            num_workers=trained.num_workers,
        )
        advice = f"Lower batch_size={trained.batch_size}."
        with explaining_failures(lambda: f"while it predicts the {cfg.split} split", advice):
            logits = predict(accelerator, model, batches, title=cfg.split)
        if accelerator.is_main_process:
            if cfg.out is None:
                run.note_split(cfg.split, data.identity())
            save_dropped(data, run.dropped(cfg.split))
            counts = json.loads(run.counts.read_text())
            loss = create_loss(**instantiate(trained.loss, _convert_="all"), space=space, **counts)
            evaluation, target = evaluate_split(logits, data, space, trained.threshold, loss)
            folder = Path(cfg.out) if cfg.out else run.split(cfg.split)
            folder.parent.mkdir(parents=True, exist_ok=True)
            save_evaluation(folder, data, logits, target, evaluation)
            log.info("%s of %s\n%s", cfg.split, run.folder, format_evaluation(evaluation))
            log.info("\nwritten to %s", folder)


if __name__ == "__main__":
    run_script(main)
