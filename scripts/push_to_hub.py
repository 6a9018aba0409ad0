"""Pushes the best model of a run to the Hugging Face hub, with a card, or writes the folder that would be pushed.

python scripts/push_to_hub.py run=runs/<name> repo=<user/name> license=<license> out=<folder>
python scripts/push_to_hub.py run=runs/<name> repo=<user/name> license=<license>
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="push_to_hub")
def main(cfg: DictConfig) -> None:
    """Writes or pushes the folder."""
    from multihot.settings.check import check_settings

    check_settings(cfg, "push_to_hub")
    from multihot.export.bundle import FOLDER, WAY_OUT, write_bundle
    from multihot.export.hub import check_license, check_repo, push
    from multihot.files import absolute, prepare_folder
    from multihot.run.folder import load_run

    check_repo(cfg.repo)
    check_license(cfg.license)
    run, settings, labels = load_run(cfg.run, changes={})
    choices = OmegaConf.to_container(cfg)
    if cfg.out is not None:
        folder = Path(absolute(cfg.out))
        prepare_folder(folder, FOLDER, WAY_OUT)
        write_bundle(folder, run, settings, labels, choices)
        log.info("written to %s; the same command without out= pushes it", folder)
        return
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "hub"
        write_bundle(folder, run, settings, labels, choices)
        log.info("pushed: %s", push(folder, cfg.repo, private=cfg.private, overwrite=cfg.overwrite))


if __name__ == "__main__":
    run_script(main)
