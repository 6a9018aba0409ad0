"""The folder that is pushed to the hub: model, decisions, card, handler, and the files of programs for taggers."""

import csv
import logging
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePath

import timm
from omegaconf import DictConfig
from timm.data import resolve_input_data_config

from multihot.data.manifest import SPLITS
from multihot.decisions import Decisions
from multihot.errors import InputError
from multihot.evaluation.decided import read_space, settle_decisions
from multihot.evaluation.predictions import ORIGIN, hash_model
from multihot.export.card import About, Measured, create_card
from multihot.export.onnx_model import ONNX_FILE, ONNX_FOLDER, OnnxModel
from multihot.export.tagger import TAGGER_FILES, write_tagger_files
from multihot.files import publish_folder, read_json, stage_folder, write_json, write_text, writing
from multihot.json_shapes import METRICS
from multihot.model.saved import load_model
from multihot.model.stored import (
    CONFIG,
    WEIGHTS,
    add_decisions,
    complete_config,
    name_architecture,
    read_config,
    to_text,
)
from multihot.ownership import Kind
from multihot.run.folder import COUNTS_FILE, Run
from multihot.seal import read_seal

log = logging.getLogger(__name__)

ONNX_FILES = (ONNX_FILE, f"{ONNX_FILE}.data")  # the second holds the weights of large models
FOLDER = Kind(
    "what is pushed to the hub",
    {
        "README.md": b"---",
        CONFIG: b"{",
        WEIGHTS: b"",
        **dict.fromkeys(ONNX_FILES, b""),
        "decisions.json": b"{",
        "labels.json": b"[",
        "labels.csv": b"label,",
        "handler.py": b'"""',
        "requirements.txt": b"timm",
        **dict.fromkeys(TAGGER_FILES, b""),
    },
    proof=("README.md", b"\n- multihot\n"),
)
WAY_OUT = "give another folder by out="
REQUIREMENTS = "timm>=1.0.31\n"  # torch, torchvision and Pillow come with it


def write_bundle(folder: Path, run: Run, settings: DictConfig, labels: tuple[str, ...], choices: Mapping) -> None:
    """Writes the folder that is pushed to the hub, in full or not at all.

    Args:
        settings: of the run.
        choices: repo, license, data_name, base_model and onnx of conf/push_to_hub.yaml.

    Raises:
        InputError: the model is damaged or has other labels, a file cannot be read or written.
    """
    space = read_space(settings, labels)
    decisions = settle_decisions(run, settings, space)
    model = load_model(run.best, labels)
    preprocessing = resolve_input_data_config(model)
    measured = [one for split in ("test", "val") if (one := read_measured(run, split))]
    new = stage_folder(folder)
    with writing(folder, WAY_OUT):
        write_model(new, run, decisions)
        if measured:
            shutil.copyfile(run.split(measured[0].split) / "labels.csv", new / "labels.csv")
        has_onnx = choices["onnx"] and add_onnx(new, run)
        try:
            write_tagger_files(new, decisions, count_positives(run, len(labels)), preprocessing)
        except InputError as error:
            log.info("without files for taggers: %s", error)
        base_model, start, license_of_start = describe_start(settings.model)
        config = read_config(new)
        about = About(
            repo=choices["repo"],
            license=choices["license"],
            decisions=decisions,
            architecture=name_architecture(config),
            size=" x ".join(map(str, preprocessing["input_size"][1:])),
            start=start,
            head=None if config["head"] is None else config["head"]["_target_"].rpartition(".")[2],
            base_model=choices["base_model"] or base_model,
            license_of_start=license_of_start,
            data_name=choices["data_name"] or name_data(settings.data),
            sizes=read_sizes(run),
            num_unknown=count_unknown(run, len(labels)),
            measured=measured,
            has_onnx=has_onnx,
            has_tagger=(new / TAGGER_FILES[0]).exists(),
        )
        write_text(new / "README.md", create_card(about), errors="backslashreplace")
    publish_folder(folder, FOLDER)


def write_model(folder: Path, run: Run, decisions: Decisions) -> None:
    """Writes into a folder what answers by itself: the model, its decisions, its labels and handler.py.

    Raises:
        InputError: its head is stored as it was before.
    """
    config = read_config(run.best)
    if config["head"] is not None and "backbone" not in config:
        raise InputError(
            f"the head of {run.best} is stored as it was before, which other loaders may take for theirs: "
            f"python scripts/repair_run.py run={run.folder}"
        )
    write_text(folder / CONFIG, to_text(add_decisions(complete_config(config, decisions.space), decisions)))
    shutil.copyfile(run.best / WEIGHTS, folder / WEIGHTS)
    decisions.save(folder)
    write_json(folder / "labels.json", list(decisions.space.labels))
    shutil.copyfile(files("multihot.export") / "templates" / "handler.py", folder / "handler.py")
    write_text(folder / "requirements.txt", REQUIREMENTS)


def add_onnx(folder: Path, run: Run) -> bool:
    """Copies what scripts/export_onnx.py has made of this very model, and returns whether there is one."""
    if not (run.folder / ONNX_FOLDER / ONNX_FILE).exists():
        return False
    try:
        there = OnnxModel.of_run(run).path.parent
    except InputError as error:
        log.info("without the ONNX file: %s", error)
        return False
    for path in (there / name for name in ONNX_FILES):
        if path.exists():
            shutil.copyfile(path, folder / path.name)
    return True


def read_measured(run: Run, split: str) -> Measured | None:
    """Returns what was measured of this very model on a split; None with a word if nothing was."""
    folder, command = run.split(split), f"python evaluate.py run={run.folder} split={split}"
    if not (folder / "metrics.json").exists():
        log.warning("the card has no scores of the %s split; this makes them: %s", split, command)
        return None
    origin = read_seal(folder, ORIGIN) or {}
    if origin.get("model") not in (None, hash_model(run.best)):
        log.warning("the scores in %s are of another model and are left out; this makes them: %s", folder, command)
        return None
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return Measured(split, read_json(folder / "metrics.json", METRICS), list(csv.DictReader(file)))


def read_sizes(run: Run) -> dict[str, int]:
    """Returns how many images each split has, as far as it is known."""
    known = run.read_splits()
    return {split: known[split]["num_images"] for split in SPLITS if "num_images" in known.get(split, {})}


def count_positives(run: Run, num_labels: int) -> list[int]:
    """Returns how often each label is present in the train split (C,); 0 where that is not known."""
    if not (run.folder / COUNTS_FILE).exists():
        return [0] * num_labels
    return [round(count) for count in run.read_counts(num_labels)["label_count"]]


def count_unknown(run: Run, num_labels: int) -> int:
    """Returns how many answers of the train split are unknown; 0 where that is not known."""
    if not (run.folder / COUNTS_FILE).exists():
        return 0
    counts = run.read_counts(num_labels)
    return round(counts["num_images"] * num_labels - sum(counts["num_known"]))


def describe_start(model: Mapping) -> tuple[str | None, str, str | None]:
    """Returns the model on the hub that the training began with, the same in words, and its license, if known.

    Args:
        model: settings of the run.
    """
    name = model["name"]
    if model["weights"] is not None:
        return None, f"weights of the file {PurePath(str(model['weights'])).name}", None
    if not model["pretrained"]:
        return None, "random weights", None
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:"), f"the pretrained weights of {name.removeprefix('hf-hub:')}", None
    pretrained = timm.models.get_pretrained_cfg(name)
    return pretrained.hf_hub_id, f"the pretrained weights {name}", pretrained.license


def name_data(data: Mapping) -> str | None:
    """Returns what to call the data where the user does not say it: its name, or that of its folder.

    >>> name_data({"_target_": "multihot.data.readers.csv_file.CsvReader", "path": "/data/photos/labels.csv"})
    'photos'
    """
    if data.get("name"):
        return str(data["name"])
    if not data.get("path"):
        return str(data["_target_"]).split(".")[-2]
    path = PurePath(str(data["path"]))
    return (path.parent.name if path.suffix else path.name) or None
