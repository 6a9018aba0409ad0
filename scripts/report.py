"""Writes a page about a run on a split, or about two runs beside each other, from saved predictions.

python scripts/report.py run=runs/<name> split=test
python scripts/report.py run=[runs/a,runs/b] split=test out=a_and_b.html
"""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
def main(cfg: DictConfig) -> None:
    """Writes report.html."""
    from multihot.evaluation.decided import read_space
    from multihot.files import absolute, prepare_file
    from multihot.report.page import MARK, WAY_OUT, create_page, save_page
    from multihot.report.pictures import NO_PICTURES
    from multihot.report.result import name_file, open_album, read_doctor, read_result
    from multihot.run.folder import load_run
    from multihot.settings.check import check_settings

    check_settings(cfg, "report")
    folders = [cfg.run] if isinstance(cfg.run, str) else OmegaConf.to_container(cfg.run)
    runs = [load_run(folder, changes={"data": cfg.data}) for folder in folders]
    results = [
        read_result(run, OmegaConf.to_container(trained), read_space(trained, labels), cfg.split)
        for run, trained, labels in runs
    ]
    file = name_file([run for run, *_ in runs], cfg.split) if cfg.out is None else Path(absolute(cfg.out))
    prepare_file(file, MARK, WAY_OUT)
    run, trained, labels = runs[0]
    album = open_album(trained.data, cfg.split, labels) if cfg.pictures else NO_PICTURES
    if cfg.saliency:
        from multihot.report.saliency import load_explainer  # imports timm

        album = album._replace(explain=load_explainer(run.best, results[0].space))
    page = create_page(results, album, num_pictures=cfg.pictures, doctor=read_doctor(cfg.doctor))
    save_page(file, page)
    log.info("written to %s", file)


if __name__ == "__main__":
    run_script(main)
