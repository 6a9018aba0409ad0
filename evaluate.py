"""Evaluates the best model of a run on a split, from nothing but the run folder.

python evaluate.py run=runs/<name> split=test
"""

import json
import logging

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
    from multihot.evaluation import evaluate_split, format_evaluation, predict, save_evaluation
    from multihot.loss import create_loss
    from multihot.model.saved import load_model
    from multihot.run import load_run
    from multihot.session import open_session, start_processes

    start_processes()
    run, trained, labels = load_run(
        cfg.run, changes={key: cfg[key] for key in ("data", "threshold", "num_workers", "mixed_precision")}
    )
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
        space = data.label_space(trained.single_label, trained.activation)
        model = load_model(run.best, labels).to(accelerator.device)
        batches = create_evaluation_batches(
            data,
            accelerator=accelerator,
            preprocessing=resolve_input_data_config(model),
            batch_size=trained.batch_size,
            num_workers=trained.num_workers,
        )
        logits = predict(accelerator, model, batches, title=cfg.split)
        if accelerator.is_main_process:
            run.note_split(cfg.split, len(data), len(data.dropped), data.fingerprint())
            save_dropped(data, run.dropped(cfg.split))
            counts = json.loads(run.counts.read_text())
            loss = create_loss(**instantiate(trained.loss, _convert_="all"), space=space, **counts)
            evaluation, target = evaluate_split(logits, data, space, trained.threshold, loss)
            save_evaluation(run.split(cfg.split), data, logits, target, evaluation)
            log.info("%s of %s\n%s", cfg.split, run.folder, format_evaluation(evaluation))
            log.info("\nwritten to %s", run.split(cfg.split))


if __name__ == "__main__":
    run_script(main)
