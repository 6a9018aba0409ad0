"""A pretrained single-label timm model becomes a multi-label one: softmax classifier off, C logits on."""

import difflib
import re

import timm
from timm.layers import PatchEmbed
from torch import nn

from multihot.errors import InputError, list_first
from multihot.model.sources import explain_hub_errors, read_source
from multihot.model.weight_files import Source


def create_model(
    name: str, *, num_labels: int, pretrained: bool, weights: str | None, image_size: int | None, kwargs: dict
) -> nn.Module:
    """Returns the timm model itself with `num_labels` fresh logits; position embeddings are resampled to `image_size`.

    `weights` is a local source (see `read_source`) and goes before `pretrained`, which loads from the Hugging Face hub.
    Everything but the classifier must fit exactly.

    Raises:
        InputError: no such model, no network, weights that do not fit, no labels, a size that patches do not fill.
    """
    if num_labels < 1:
        raise InputError("a model needs at least one label, and the data names none; see data.labels")
    check_name(name)
    kwargs = {"img_size": image_size, **kwargs, "num_classes": 0}
    if weights is not None:
        model = load_source(name, read_source(weights, name), kwargs)
    elif pretrained:
        with explain_hub_errors(name):
            model = build_timm(name, pretrained=True, **kwargs)
    else:
        model = build_timm(name, **kwargs)
    check_patches(model, kwargs)
    if image_size is not None:  # models of any size would keep their pretraining's
        channels = model.pretrained_cfg["input_size"][0]
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (channels, image_size, image_size)}
    model.reset_classifier(num_labels)
    return model


def build_timm(name: str, **kwargs) -> nn.Module:
    """Returns timm.create_model(name, **kwargs); an argument that the model does not take is an InputError."""
    try:
        return timm.create_model(name, **kwargs)
    except TypeError as error:
        raise InputError(
            f"{name} does not take all of model.image_size and model.kwargs; leave out what it has not: {error}"
        ) from error


def check_patches(model: nn.Module, kwargs: dict) -> None:
    """Raises InputError with the nearest sizes if the patches of a chosen size leave out the edges of the image.

    What a model was pretrained with passes (384 pixels in patches of 14), and so does a model that pads.
    """
    embed = getattr(model, "patch_embed", None)
    if not isinstance(embed, PatchEmbed) or embed.img_size is None or embed.dynamic_img_pad:
        return
    own_size = kwargs["img_size"] is None or embed.img_size == tuple(model.pretrained_cfg["input_size"][1:])
    if own_size and "patch_size" not in kwargs:
        return
    for size, patch in zip(embed.img_size, embed.patch_size, strict=True):
        if size % patch:
            below = size // patch * patch
            raise InputError(
                f"model.image_size={size} is no multiple of the model's patches of {patch} pixels, which leave out the "
                f"last {size % patch} pixels: choose {f'{below} or ' if below else ''}{below + patch}"
            )


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


def load_source(name: str, source: Source, kwargs: dict) -> nn.Module:
    """Returns the model with a source's weights; timm resamples position and patch embeddings to its sizes.

    What `kwargs` say of the preprocessing (pretrained_cfg_overlay) goes before the source's own.
    """
    wanted = {key: value for key, value in kwargs.items() if value is not None}
    own = wanted.pop("pretrained_cfg_overlay", {})
    overlay = {**source.preprocessing, **own, "state_dict": source.state, "num_classes": 0, "source": ""}
    try:
        model = build_timm(
            name,
            pretrained=True,
            pretrained_cfg=source.pretrained_cfg,
            pretrained_cfg_overlay=overlay,
            **{**source.kwargs, **wanted},
        )
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{source.path} does not fit {name}; model.name and model.kwargs must be those it was made with:\n"
            f"{describe_mismatch(error)}"
        ) from error
    del model.pretrained_cfg["state_dict"]
    return model


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
