"""best/: a model as a timm folder, and read back only for the labels that it was trained for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import timm
from timm.data import resolve_input_data_config
from timm.models._hub import load_model_config_from_path, save_config_for_hf  # private: the public ones do more
from torch import nn

from multihot.errors import InputError
from multihot.files import publish_folder, save_tensors, stage_folder, write_text
from multihot.known_classes import create
from multihot.labels import LabelSpace
from multihot.model.heads import install_head
from multihot.model.heads.install import classifiers
from multihot.model.state import check_finite
from multihot.model.stored import (
    CONFIG,
    WEIGHTS,
    complete_config,
    is_linear,
    join_old_pairs,
    name_architecture,
    rename_to_store,
    to_text,
)
from multihot.model.weight_files import read_json_file, read_tensors
from multihot.ownership import MODEL
from multihot.seal import check_model, seal


def save_model(model: nn.Module, folder: Path, *, space: LabelSpace, head: Mapping | None) -> None:
    """Writes the model in timm's hub layout (config.json, model.safetensors), so that plain timm and transformers can
    load it, or refuse it: see multihot.model.stored.

    `timm.create_model("local-dir:<folder>", pretrained=True)`

    Args:
        head: the settings of its head; None: timm's own.
    """
    new = stage_folder(folder)
    save_tensors(new / WEIGHTS, rename_to_store(model.state_dict(), head, classifiers(model)))
    save_config_for_hf(
        model,
        str(new / CONFIG),
        model_config={"label_names": list(space.labels), "head": head},
        data_config=resolve_input_data_config(model),
    )
    write_text(new / CONFIG, to_text(complete_config(read_json_file(new / CONFIG), space)))
    seal(new, {})
    publish_folder(folder, MODEL)


def load_model(folder: Path, labels: tuple[str, ...]) -> nn.Module:
    """Returns the timm model of a `best/` folder after checking that its outputs are these labels, in this order.

    Raises:
        InputError: it has other labels, is not as it was written, or its weights are not finite.
    """
    check_model(folder)
    config = read_json_file(folder / CONFIG)
    missing = [key for key in ("architecture", "label_names", "head") if key not in config]
    if missing:
        raise InputError(f"{folder}/config.json is no model of a run: it has no {', '.join(missing)}")
    saved = tuple(config["label_names"])
    if saved != labels:
        raise InputError(
            f"the model in {folder} has other labels than its run: {list(saved)[:5]} ..., not {list(labels)[:5]} ..."
        )
    state = read_tensors(folder / WEIGHTS)
    check_finite(state, str(folder / WEIGHTS))
    head = None if is_linear(config["head"]) else create("head.layer", config["head"])
    with explain_misfit(folder):
        pretrained_cfg, _, kwargs = load_model_config_from_path(folder)
        kwargs = {**(kwargs or {}), "num_classes": 0}
        model = timm.create_model(name_architecture(config), pretrained_cfg=pretrained_cfg, **kwargs)
        install_head(model, head, len(labels))
        model.load_state_dict(join_old_pairs(state, config, classifiers(model)))
        return model


@contextmanager
def explain_misfit(folder: Path) -> Iterator[None]:
    """Turns what is raised where weights and config.json are of two models into an InputError."""
    try:
        yield
    except (RuntimeError, TypeError, LookupError, ValueError) as error:
        raise InputError(f"{folder}: its weights are not of the model in its config.json: {error}") from error
