"""Fits calibrated probabilities and thresholds to the saved predictions of a run; seconds, without the model.

python scripts/fit_decisions.py run=runs/<name>                     the best micro F1, one threshold for all labels
python scripts/fit_decisions.py run=runs/<name> decisions=recall    another aim
python scripts/fit_decisions.py --help                              what can be set
"""

import logging
from functools import partial

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="fit_decisions")
def main(cfg: DictConfig) -> None:
    """Writes runs/<name>/best/decisions.json, and prints what the decisions bring."""
    from multihot.errors import InputError  # what loads torch, --help need not wait for
    from multihot.evaluation.decided import fit_run, read_fitted, read_space
    from multihot.run.folder import load_run
    from multihot.seal import check_model
    from multihot.settings.check import check_settings
    from multihot.settings.saved import to_plain

    check_settings(cfg, "fit_decisions")
    if cfg.decisions.aim is None:
        raise InputError("decisions=none fits nothing: choose what thresholds are for, as decisions=micro_f1")
    run, trained, labels = load_run(cfg.run, changes={})
    check_model(run.best)
    predictions = read_fitted(run, cfg.split, read_space(trained, labels))
    if cfg.split == "train":
        log.warning("the model has been fitted to the train split: it is surer there than on new images")
    decide = partial(predictions.space.decide, threshold=to_plain(trained.threshold))
    fit_run(run, cfg.split, OmegaConf.to_container(cfg.decisions), predictions, decide)
    log.info("written to %s; evaluate.py run=%s split=test scores by it", run.best / "decisions.json", run.folder)


if __name__ == "__main__":
    run_script(main)
