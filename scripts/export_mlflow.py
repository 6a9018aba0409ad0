"""Saves the best model of a run as an MLflow pyfunc.

python scripts/export_mlflow.py run=runs/<name> out=<folder>
mlflow models serve -m <folder> --env-manager local
"""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="export_mlflow")
def main(cfg: DictConfig) -> None:
    """Writes the folder."""
    from multihot.settings.check import check_settings

    check_settings(cfg, "export_mlflow")
    from multihot.export.mlflow_model import FOLDER, WAY_OUT, import_mlflow, save_mlflow
    from multihot.files import absolute, prepare_folder
    from multihot.run.folder import load_run

    with import_mlflow():
        folder = Path(absolute(cfg.out))
        prepare_folder(folder, FOLDER, WAY_OUT)
        save_mlflow(folder, *load_run(cfg.run, changes={}))
    log.info("written to %s", folder)


if __name__ == "__main__":
    run_script(main)
