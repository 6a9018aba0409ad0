"""A pretrained single-label timm model becomes a multi-label one: softmax classifier off, C logits on."""

import difflib
import re
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from timm.models import load_state_dict
from timm.models._hub import load_model_config_from_path
from torch import nn

from multihot.errors import InputError, check_choice, list_first

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # what a timm folder may hold


def create_model(
    name: str, *, num_labels: int, pretrained: bool, weights: str | None, image_size: int | None, kwargs: dict
) -> nn.Module:
    """Returns the timm model itself with `num_labels` fresh logits; position embeddings are resampled to `image_size`.

    `weights` is a local .safetensors or .pth file, a timm folder, or `shipped:<name>`, and goes before `pretrained`,
    which loads from the Hugging Face hub. Everything but the classifier must fit exactly.

    Raises:
        InputError: no such model, no network, weights that do not fit, no labels.
    """
    if num_labels < 1:
        raise InputError("a model needs at least one label")
    check_name(name)
    kwargs = {"img_size": image_size, **kwargs, "num_classes": 0}
    if weights is not None:
        model = load_local(name, find_weights(weights), kwargs)
    elif pretrained:
        model = load_from_hub(name, kwargs)
    else:
        model = build_timm(name, **kwargs)
    model.reset_classifier(num_labels)
    return model


def build_timm(name: str, **kwargs) -> nn.Module:
    """Returns timm.create_model(name, **kwargs); an argument that the model does not take is an InputError."""
    try:
        return timm.create_model(name, **kwargs)
    except TypeError as error:
        raise InputError(f"{name} does not take all of model.image_size and model.kwargs: {error}") from error


def check_name(name: str) -> None:
    """Raises InputError with the most similar names unless timm knows the model (hub and folder names pass)."""
    architecture, _, tag = name.partition(".")
    if ":" in name:
        return
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        raise InputError(
            f"timm {timm.__version__} has no model {architecture!r}. "
            f"Similar names: {', '.join(near) or 'none'}; all: timm.list_models('*vit*')"
        )
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InputError(f"{architecture} has no pretrained tag {tag!r}; choose from {', '.join(tags) or 'none'}")


def find_weights(weights: str) -> Path:
    """Returns the path of a weights file or timm folder; `shipped:<name>` is one that comes with this package."""
    if weights.startswith("shipped:"):
        folder = Path(str(files("multihot.model") / "weights"))
        path = folder / f"{weights.removeprefix('shipped:')}.safetensors"
        choices = "; shipped are: " + ", ".join(sorted(file.stem for file in folder.glob("*.safetensors")))
    else:
        path, choices = Path(weights).expanduser(), "; give a .safetensors or .pth file or a timm folder"
    if not path.exists():
        raise InputError(f"model.weights={weights}: there is no {path}{choices}")
    return path


def load_from_hub(name: str, kwargs: dict) -> nn.Module:
    """Returns the pretrained model without its classifier, from the hub or its local cache."""
    try:
        return build_timm(name, pretrained=True, **kwargs)
    except (OSError, HfHubHTTPError) as error:
        raise InputError(
            f"the pretrained weights of {name} could not be fetched from the Hugging Face hub:\n"
            f"  {str(error).splitlines()[0]}\n"
            "Without a network, give a local file or timm folder (model.weights=path) "
            "or start from random weights (model.pretrained=false model.weights=null)."
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"{name} cannot be loaded: {error}\nmodel.pretrained=false starts from random weights"
        ) from error


def load_local(name: str, path: Path, kwargs: dict) -> nn.Module:
    """Returns the model with the weights of a file or timm folder, without its classifier."""
    pretrained_cfg, classifier = None, timm.get_pretrained_cfg_value(name, "classifier")
    if path.is_dir():
        name, pretrained_cfg, kwargs, path = read_timm_folder(name, path, kwargs)
        classifier = pretrained_cfg.get("classifier", classifier)
    state = without_classifier(read_state(path), classifier)
    overlay = {"state_dict": state, "num_classes": 0, "source": ""}
    try:
        model = build_timm(
            name, pretrained=True, pretrained_cfg=pretrained_cfg, pretrained_cfg_overlay=overlay, **kwargs
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} does not fit {name}:\n{describe_mismatch(error)}") from error
    del model.pretrained_cfg["state_dict"]
    return model


def read_timm_folder(name: str, folder: Path, kwargs: dict) -> tuple[str, dict, dict, Path]:
    """Returns architecture, pretrained config, model arguments and weights file of a folder in timm's hub layout."""
    found = [folder / file for file in WEIGHTS_FILES if (folder / file).is_file()]
    if not found or not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no timm folder: it needs config.json and {' or '.join(WEIGHTS_FILES)}")
    pretrained_cfg, architecture, saved_kwargs = load_model_config_from_path(folder)
    if architecture != name.partition(".")[0]:
        raise InputError(f"{folder} holds a {architecture}, not a {name}: set model.name={architecture}")
    wanted = {key: value for key, value in kwargs.items() if value is not None}
    return architecture, pretrained_cfg, {**(saved_kwargs or {}), **wanted}, found[0]


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Returns the state dict of a .safetensors or .pth file (never running code from it)."""
    try:
        return load_state_dict(str(path))
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as weights: {str(error).splitlines()[0]}") from error


def without_classifier(state: dict, classifier: str | tuple[str, ...] | None) -> dict:
    """Returns the state dict without the weights and biases of the classifier(s)."""
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    return {key: value for key, value in state.items() if key.rpartition(".")[0] not in names}


def describe_mismatch(error: Exception) -> str:
    """Returns torch's complaint about a state dict with at most five keys of each kind.

    >>> print(describe_mismatch(RuntimeError('Error:\\n\\tMissing key(s) in state_dict: "a.weight", "a.bias".')))
    2 missing keys:
      a.weight
      a.bias
    """
    parts = []
    for kind in ("Missing", "Unexpected"):
        keys = re.findall(r'"([^"]+)"', "".join(re.findall(rf"{kind} key\(s\)[^\n]*", str(error))))
        if keys:
            parts.append(f"{len(keys)} {kind.lower()} keys:\n{list_first(keys)}")
    sizes = re.findall(r"size mismatch for [^\n]*", str(error))
    if sizes:
        parts.append(list_first(sizes))
    return "\n".join(parts) or str(error)


def start_head(model: nn.Module, start: str, frequency: np.ndarray, num_images: int) -> None:
    """Gives the fresh classifier its first weights: `prior`, or `random` as timm has left them."""
    check_choice("head.start", start, ("prior", "random"))
    if start == "prior":
        start_at_prior(model, frequency, num_images)


def start_at_prior(model: nn.Module, frequency: np.ndarray, num_images: int) -> None:
    """Sets the classifier to zero weights and biases at the log-odds of each label's frequency (C,).

    Every image then gets the labels' frequencies as probabilities, and the first BCE is their entropy. A label on no
    image, or on all, counts as half an image away from that, so that its bias is finite.
    """
    margin = 0.5 / num_images
    frequency = torch.from_numpy(frequency).clamp(margin, 1 - margin)
    classifier = model.get_classifier()
    parts = classifier if isinstance(classifier, tuple) else (classifier,)
    layers = [
        layer for part in parts for layer in part.modules() if getattr(layer, "out_features", None) == model.num_classes
    ]
    if not all(isinstance(layer, nn.Linear) for layer in layers) or not layers:
        raise InputError(f"the classifier of {type(model).__name__} is not linear: set head.start=random")
    for layer in layers:
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            layer.bias.copy_(torch.logit(frequency))
