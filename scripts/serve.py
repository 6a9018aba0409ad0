"""Answers images by a run's model, over HTTP and on a page.

python scripts/serve.py run=runs/<name>
python scripts/serve.py run=runs/<name> host=0.0.0.0 port=80 num_waiting=1000
"""

import logging
import os
import platform
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from multihot.cli import run_script
from multihot.errors import InputError

if TYPE_CHECKING:
    from multihot.run.folder import Run
    from multihot.serving.limits import Limits

log = logging.getLogger("multihot")

MEGA = 10**6


@hydra.main(version_base="1.3", config_path="../conf", config_name="serve")
def main(cfg: DictConfig) -> None:
    """Serves until it is told to end."""
    check_extra()
    from functools import partial

    from multihot.data.value_range import read_value_range
    from multihot.prediction.predictor import open_predictor
    from multihot.report.saliency import load_explainer
    from multihot.run.folder import load_run
    from multihot.serving.app import create_app
    from multihot.serving.server import bind, run_server
    from multihot.serving.service import Cores, Service
    from multihot.settings.check import check_settings

    check_settings(cfg, "serve")
    run, trained, labels = load_run(cfg.run, {key: cfg[key] for key in ("batch_size", "mixed_precision")})
    num_threads = os.cpu_count() or 1 if cfg.num_threads is None else cfg.num_threads
    cores = Cores.take()
    with bind(cfg.host, cfg.port) as socket, open_predictor(run, trained, labels, backend=cfg.backend) as predictor:
        service = Service(
            predictor,
            cores=cores,
            batch_size=trained.batch_size,
            num_threads=num_threads,
            value_range=read_value_range(trained.data.value_range, trained.data.window),
            load_explainer=partial(load_explainer, run.best, predictor.space) if cfg.saliency else None,
        )
        service.warm_up(cfg.exact)
        app = create_app(service, read_limits(cfg), describe(run, cfg), list(cfg.cors))
        run_server(app, socket, cfg.seconds)


def check_extra() -> None:
    """Raises InputError unless what the server needs is installed."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f'serving needs {error.name}: pip install -e ".[serve]"') from error


def read_limits(cfg: DictConfig) -> "Limits":
    """Returns the limits in bytes and pixels."""
    from multihot.serving.limits import Limits

    return Limits(
        file_bytes=int(MEGA * cfg.file_mb),
        request_bytes=int(MEGA * cfg.request_mb),
        total_bytes=int(MEGA * cfg.total_mb),
        num_files=cfg.num_files,
        num_waiting=cfg.num_waiting,
        pixels=int(MEGA * cfg.megapixels),
        seconds=cfg.seconds,
    )


def describe(run: "Run", cfg: DictConfig) -> dict[str, object]:
    """Returns what /health says of the run and the versions."""
    import timm
    import torch

    from multihot import __version__
    from multihot.evaluation.predictions import hash_model

    return {
        "run": run.folder.resolve().name,
        "model": hash_model(run.best),
        "backend": cfg.backend,
        "saliency": cfg.saliency,
        "multihot": __version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    run_script(main)
