"""What is written so that nothing is lost: `last/` to go on from, `best/` to use."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import timm
from accelerate import Accelerator
from hydra.utils import instantiate
from safetensors.torch import load_file
from timm.data import resolve_input_data_config
from timm.models import save_for_hf
from torch import nn

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.model.heads import classify_in_float32, install_head


@dataclass
class TrainingState:
    """Where a training stands; saved with every checkpoint."""

    epoch: int = 0  # epochs done
    update: int = 0  # optimizer updates done
    best_score: float | None = None
    best_epoch: int = 0
    num_processes: int = 1  # the learning rate follows the updates, and their number the processes
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch; row 0 is before training

    def state_dict(self) -> dict:
        """Returns all fields."""
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        """Takes over all fields."""
        for item in fields(self):
            setattr(self, item.name, state[item.name])


def stage_folder(folder: Path) -> Path:
    """Returns an empty folder beside `folder`, to be filled and then given to `publish_folder`."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def publish_folder(folder: Path) -> None:
    """Moves the staged folder into place; the one before stays whole until the new one is complete."""
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Puts the folder before back where a kill between the two moves of `publish_folder` left none."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)


def save_last(accelerator: Accelerator, folder: Path) -> None:
    """Writes the whole training state (model, optimizer, scaler, random states, everything registered).

    All processes must call it: each writes its own random state.
    """
    if accelerator.is_main_process:
        stage_folder(folder)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder.with_name(f".{folder.name}.new")))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        publish_folder(folder)
    accelerator.wait_for_everyone()


def load_last(accelerator: Accelerator, folder: Path, state: TrainingState) -> None:
    """Loads all that `save_last` wrote; the number of processes must be the same, or rate and order would change."""
    accelerator.load_state(str(folder))
    if state.num_processes != accelerator.num_processes:
        raise InputError(
            f"the run began with {state.num_processes} processes and cannot go on with {accelerator.num_processes}: "
            "the learning rate and the order of the images would change"
        )


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
    publish_folder(folder)


def load_model(folder: Path, labels: tuple[str, ...]) -> nn.Module:
    """Returns the timm model of a `best/` folder after checking that its outputs are these labels, in this order."""
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
