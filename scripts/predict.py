"""Says which labels images have that nobody has labelled, with the model and the decisions of a run.

python scripts/predict.py run=runs/<name> images=photos out=predictions.csv
python scripts/predict.py run=runs/<name> split=test out=test.parquet
"""

import logging
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script
from multihot.errors import InputError, plural

log = logging.getLogger("multihot")

MANY_LABELS = 1000


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
def main(cfg: DictConfig) -> None:
    """Writes the file of answers."""
    from accelerate import PartialState  # what loads torch, --help need not wait for

    from multihot.failures import explaining_failures
    from multihot.files import absolute
    from multihot.prediction.answer_images import answer_images, cut_parts
    from multihot.prediction.parts import find_kernels, open_output
    from multihot.prediction.predictor import open_predictor
    from multihot.processes.session import start_processes
    from multihot.run.folder import in_process_0, load_run
    from multihot.settings.check import check_settings

    check_settings(cfg, "predict")
    start_processes()
    is_source = "_target_" in cfg.data
    changes = {key: cfg[key] for key in ("batch_size", "mixed_precision", "kernels")}
    run, trained, labels = load_run(cfg.run, changes=changes | ({} if is_source else {"data": cfg.data}))
    manifest = find_images(cfg, trained, labels)
    parts = cut_parts(len(manifest), trained.batch_size, cfg.part_images)
    path = Path(absolute(cfg.out))
    trained.kernels = in_process_0(partial(find_kernels, path, trained.kernels))
    with open_predictor(run, trained, labels, backend=cfg.backend) as predictor:
        plan = in_process_0(partial(describe_plan, cfg, run, trained, manifest, predictor))
        prefixes = cfg.replace_prefix
        output = open_output(path, predictor.space, cfg.top_k, plan, len(parts), cfg.format, prefixes)
        missing = in_process_0(output.begin)
        if missing is None:
            log.info("%s is there already, of this command; delete it to predict again", output.path)
            return
        log.info("%s, %s", plural(len(manifest), "image"), tell_decisions(predictor.decisions))
        if len(labels) > MANY_LABELS and cfg.top_k is None and not cfg.min_probability:
            log.warning("each image gets %d scores: top_k=20 or min_probability=0.01 would leave out most", len(labels))
        advice = f"Lower batch_size={trained.batch_size}."
        with explaining_failures(lambda: "while images are predicted", advice):
            answer_images(
                manifest,
                predictor,
                output,
                missing,
                parts,
                batch_size=trained.batch_size,
                num_workers=choose_workers(cfg.num_workers, predictor.accelerator.device.type),
                top_k=cfg.top_k,
                min_probability=cfg.min_probability,
            )
        PartialState().wait_for_everyone()
        total = in_process_0(output.finish)
        if PartialState().is_main_process:
            tell(total, output)


def find_images(cfg: DictConfig, trained: DictConfig, labels: tuple[str, ...]):
    """Returns the images that are asked for as a Manifest of the run's labels."""
    from multihot.data import OF_ANY_SOURCE, create_reader
    from multihot.data.value_range import read_value_range
    from multihot.prediction.images import ALLOWED, list_images, without_answers

    if (cfg.images is None) == (cfg.split is None):
        raise InputError(f"give images= or split=, one of them. images: {ALLOWED}; split: train, val or test")
    settings = trained.data
    if "_target_" in cfg.data:
        settings = OmegaConf.merge({key: settings[key] for key in OF_ANY_SOURCE if key in settings}, cfg.data)
    if cfg.images is not None:
        manifest = without_answers(list_images(cfg.images, cfg.image_column, cfg.root), labels)
    else:
        manifest = create_reader(settings)(cfg.split, labels=labels, must_exist=False)
    if not len(manifest):
        raise InputError(f"split={cfg.split} has no images")
    return manifest.thin_out(cfg.max_images).with_value_range(read_value_range(settings.value_range, settings.window))


def describe_plan(cfg: DictConfig, run, trained: DictConfig, manifest, predictor) -> dict:
    """Returns on what the answers depend."""
    import hashlib

    from multihot.evaluation.predictions import hash_model
    from multihot.prediction.images import image_states
    from multihot.seal import check_model

    check_model(run.best)
    states = hashlib.sha256()
    for state in image_states(manifest):
        states.update(state.encode("utf-8", "surrogateescape") + b"\n")
    decisions = predictor.decisions
    return {
        "run": str(run.folder.absolute()),
        "model": hash_model(run.best),
        "decisions": {"description": decisions.description, "sha256": decisions.sha256},
        "labels": list(predictor.labels),
        "thresholds": decisions.thresholds(),
        "images": {"num_images": len(manifest), "sha256": states.hexdigest()},
        "settings": {key: cfg[key] for key in ("top_k", "min_probability", "backend", "part_images")}
        | {key: trained[key] for key in ("batch_size", "mixed_precision")}
        | {"kernels": predictor.kernels}
        | ({} if cfg.format is None else {"format": cfg.format})  # files begun before there were these lack them
        | ({} if cfg.replace_prefix is None else {"replace_prefix": OmegaConf.to_container(cfg.replace_prefix)}),
    }


def choose_workers(num_workers: int | None, device: str) -> int:
    """Returns how many processes decode images: on a CPU none, as the threads that run the model do it there."""
    from multihot.data.loader import default_num_workers

    if num_workers is not None:
        return num_workers
    return 0 if device == "cpu" else default_num_workers()


def tell_decisions(decisions) -> str:
    """Returns by what labels are decided, in words."""
    if decisions.description:
        return f"decided by the fitted decisions ({decisions.description})"
    return "decided by the run's threshold, probabilities are not calibrated (scripts/fit_decisions.py)"


def tell(total: dict, output) -> None:
    """Prints what the answers come to."""
    from multihot.errors import list_first
    from multihot.labels import show_label

    if total["num_unreadable"]:
        log.warning(
            "%d of %d images could not be read; their rows say why:\n%s",
            total["num_unreadable"], total["num_images"], list_first(total["reasons"]),
        )  # fmt: skip
    most = sorted(total["labels"].items(), key=lambda item: -item[1])[:8]
    log.info("most often: %s", ", ".join(f"{show_label(label)} {count:,}" for label, count in most) or "no label")
    left_out = total["num_left_out"]
    without = f", {left_out:,} left out, as this format has no place for them" if left_out else ""
    log.info("%s written to %s%s", plural(total["num_images"] - left_out, "image"), output.path, without)


if __name__ == "__main__":
    run_script(main)
