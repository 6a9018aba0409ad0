"""Writes the model of a run of before as trainings do now, so that timm and transformers read it right, or refuse it.

python scripts/repair_run.py run=runs/<name>
python scripts/repair_run.py run=[runs/a,runs/b]
"""

import logging

import hydra
from omegaconf import DictConfig

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="repair_run")
def main(cfg: DictConfig) -> None:
    """Repairs best/ of one run or several, which stay as they are where there is nothing to do."""
    from multihot.evaluation.decided import read_space
    from multihot.export.repair import repair_model
    from multihot.files import writing
    from multihot.run.enter import lock_folder
    from multihot.run.folder import load_run
    from multihot.settings.check import check_settings

    check_settings(cfg, "repair_run")
    for folder in [cfg.run] if isinstance(cfg.run, str) else cfg.run:
        run, trained, labels = load_run(folder, changes={})
        with lock_folder(run.folder), writing(run.best, "Make space or set that right; the model is as it was"):
            changes = repair_model(run, read_space(trained, labels))
        log.info("%s: %s", run.best, "\n  ".join(changes) or "nothing to repair")


if __name__ == "__main__":
    run_script(main)
