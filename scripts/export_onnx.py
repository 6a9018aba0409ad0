"""Writes the best model of a run as an ONNX file that onnxruntime, Triton and OpenVINO compute, checked on real images.

python scripts/export_onnx.py run=runs/<name>
python scripts/export_onnx.py run=runs/<name> input=photo precision=float16
python scripts/export_onnx.py run=runs/<name> triton=true
"""

import logging
import os
from functools import partial

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="export_onnx")
def main(cfg: DictConfig) -> None:
    """Writes runs/<name>/onnx/model.onnx."""
    os.environ["ACCELERATE_USE_CPU"] = "true"  # where the file is computed too
    from multihot.export.onnx_model import import_onnxruntime
    from multihot.run.folder import load_run
    from multihot.settings.check import check_settings

    check_settings(cfg, "export_onnx")
    import_onnxruntime()
    from multihot.export.onnx_export import check_precision, choose_place, create_onnx, describe_size, write_checked
    from multihot.export.onnx_file import WAY_OUT, publish
    from multihot.export.onnx_sample import read_sample
    from multihot.files import prepare_folder
    from multihot.prediction.predictor import open_predictor

    check_precision(cfg.precision)
    run, trained, labels = load_run(cfg.run, changes={"data": cfg.data})
    place = choose_place(run, cfg.out, cfg.triton)
    prepare_folder(place.folder, place.kind, WAY_OUT)
    exactly = OmegaConf.merge(trained, {"mixed_precision": "no", "kernels": "default"})
    with open_predictor(run, exactly, labels) as exact:
        sample = read_sample(trained.data, labels, cfg.num_images, exact.prepare, exact.min_side)
        logits, decisions = exact.logits(sample.pixels), exact.decisions
    model = create_onnx(run, decisions, kind=cfg.input, precision=cfg.precision)
    log.info("checking it on %d images", len(logits))
    fill = partial(
        write_checked, model, place, sample=sample, logits=logits, decisions=decisions,
        max_batch_size=cfg.max_batch_size,
    )  # fmt: skip
    publish(place.folder, place.kind, fill)
    log.info("written to %s (%s)", place.folder, describe_size(place.folder))


if __name__ == "__main__":
    run_script(main)
