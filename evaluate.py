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

    from multihot.checkpoint import load_model
    from multihot.data import create_reader
    from multihot.data.loader import create_evaluation_batches
    from multihot.data.manifest import target_of
    from multihot.evaluation import evaluate, format_evaluation, mean_loss, predict, save_evaluation
    from multihot.loss import create_loss
    from multihot.run import load_run
    from multihot.session import open_session, start_processes

    start_processes()
    run, trained, labels = load_run(
        cfg.run, changes={key: cfg[key] for key in ("data", "threshold", "num_workers", "mixed_precision")}
    )
    with open_session(trained.mixed_precision, trained.kernels, trained.model, trained.seed) as session:
        accelerator = session.accelerator
        data = create_reader(trained.data)(cfg.split, labels=labels).thin_out(trained.max_images)
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
            target = target_of(data)
            evaluation = evaluate(logits, target, space, trained.threshold)
            counts = json.loads(run.counts.read_text())
            loss = create_loss(**instantiate(trained.loss, _convert_="all"), space=space, **counts)
            evaluation.scores["loss"] = mean_loss(loss, logits, target)
            save_evaluation(run.split(cfg.split), data, logits, target, evaluation)
            log.info("%s of %s\n%s", cfg.split, run.folder, format_evaluation(evaluation))
            log.info("\nwritten to %s", run.split(cfg.split))


if __name__ == "__main__":
    run_script(main)
