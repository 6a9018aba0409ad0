"""best/: a model as a timm folder, and read back only for the labels that it was trained for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import timm
from timm.data import resolve_input_data_config
from timm.models import save_for_hf
from torch import nn

from multihot.errors import InputError
from multihot.files import publish_folder, stage_folder
from multihot.known_classes import create
from multihot.labels import LabelSpace
from multihot.model.heads import install_head
from multihot.model.state import check_finite
from multihot.model.weight_files import read_json_file, read_tensors
from multihot.ownership import MODEL
from multihot.seal import check_model, seal


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


def load_model(folder: Path, labels: tuple[str, ...]) -> nn.Module:
    """Returns the timm model of a `best/` folder after checking that its outputs are these labels, in this order.

    Raises:
        InputError: it has other labels, is not as it was written, or its weights are not finite.
    """
    check_model(folder)
    config = read_json_file(folder / "config.json")
    missing = [key for key in ("architecture", "label_names", "head") if key not in config]
    if missing:
        raise InputError(f"{folder}/config.json is no model of a run: it has no {', '.join(missing)}")
    saved = tuple(config["label_names"])
    if saved != labels:
        raise InputError(
            f"the model in {folder} has other labels than its run: {list(saved)[:5]} ..., not {list(labels)[:5]} ..."
        )
    state = read_tensors(folder / "model.safetensors")
    check_finite(state, str(folder / "model.safetensors"))
    head = create("head.layer", config["head"])
    with explain_misfit(folder):
        model = timm.create_model(f"local-dir:{folder}", pretrained=False, num_classes=0)
        install_head(model, head, len(labels))
        model.load_state_dict(state)
        return model


@contextmanager
def explain_misfit(folder: Path) -> Iterator[None]:
    """Turns what is raised where weights and config.json are of two models into an InputError."""
    try:
        yield
    except (RuntimeError, TypeError, LookupError, ValueError) as error:
        raise InputError(f"{folder}: its weights are not of the model in its config.json: {error}") from error
