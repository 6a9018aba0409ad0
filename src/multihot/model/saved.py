"""best/: a model as a timm folder, and read back only for the labels that it was trained for."""

import json
from collections.abc import Mapping
from pathlib import Path

import timm
from hydra.utils import instantiate
from safetensors.torch import load_file
from timm.data import resolve_input_data_config
from timm.models import save_for_hf
from torch import nn

from multihot.errors import InputError
from multihot.files import publish_folder, stage_folder
from multihot.labels import LabelSpace
from multihot.model.heads import classify_in_float32, install_head
from multihot.ownership import MODEL
from multihot.seal import SEAL, find_fault, seal


def save_model(model: nn.Module, folder: Path, *, space: LabelSpace, head: Mapping | None) -> None:
    """Writes the model in timm's hub layout (config.json, model.safetensors), so that plain timm can load it:

    `timm.create_model("local-dir:<folder>", pretrained=True)`

    A head other than timm's own is known by its settings, which config.json holds too, and by `load_model`.
    """
    new = stage_folder(folder)
    save_for_hf(
        model,
        str(new),
        model_config={"label_names": list(space.labels), "head": head, "label_space": space.to_config()},
        data_config=resolve_input_data_config(model),
        safe_serialization=True,
    )
    seal(new, {})
    publish_folder(folder, MODEL)


def check_model(folder: Path) -> None:
    """Raises InputError if a `best/` folder is not as it was written."""
    fault = find_fault(folder) if (folder / SEAL).exists() or not folder.exists() else None  # older runs have no seal
    if fault is not None:
        raise InputError(
            f"the best model {folder} is damaged ({fault}): bring it back from a copy, or train under a new name"
        )


def load_model(folder: Path, labels: tuple[str, ...]) -> nn.Module:
    """Returns the timm model of a `best/` folder after checking that its outputs are these labels, in this order.

    Raises:
        InputError: it has other labels, or is not as it was written.
    """
    check_model(folder)
    config = json.loads((folder / "config.json").read_text())
    saved = tuple(config["label_names"])
    if saved != labels:
        raise InputError(
            f"the model in {folder} has other labels than its run: {list(saved)[:5]} ..., not {list(labels)[:5]} ..."
        )
    if config["head"] is None:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        classify_in_float32(model)
        return model
    model = timm.create_model(f"local-dir:{folder}", pretrained=False, num_classes=0)
    install_head(model, instantiate(config["head"]), len(labels))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model
