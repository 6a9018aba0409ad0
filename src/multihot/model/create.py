"""A pretrained single-label timm model becomes a multi-label one: softmax classifier off, C logits on."""

import logging
import re

import timm
from torch import nn

from multihot.errors import InputError, list_first
from multihot.model.architecture import (
    NUM_CHANNELS,
    build_timm,
    check_model,
    check_name,
    check_train_size,
    create_outline,
)
from multihot.model.hub import explain_hub_errors
from multihot.model.sources import read_source
from multihot.model.state import check_finite, describe_size, describe_sizes, name_origin
from multihot.model.weight_files import Source

log = logging.getLogger(__name__)


def create_model(
    name: str,
    *,
    num_labels: int,
    pretrained: bool,
    weights: str | None,
    image_size: int | None,
    kwargs: dict,
    train_image_size: int | None = None,
) -> nn.Module:
    """Returns the timm model itself with `num_labels` fresh logits; position embeddings are resampled to `image_size`.

    `weights` is a local source (see `read_source`) and goes before `pretrained`, which loads from the Hugging Face hub.
    Everything but the classifier must fit exactly. With a `train_image_size` it takes images of that size too.

    Raises:
        InputError: no such model, no network, weights that do not fit or are not finite, no labels, a size that patches
            do not fill.
    """
    if num_labels < 1:
        raise InputError("a model needs at least one label, and the data names none; see data.labels")
    check_name(name)
    source = read_source(weights, name) if weights is not None else None
    if ":" not in name:  # else it is known on the hub alone
        check_model(name, image_size, kwargs, source and source.kwargs)
    if train_image_size not in (None, image_size):
        check_train_size(name, train_image_size, kwargs)
        kwargs = {**kwargs, "dynamic_img_size": True}
    kwargs = {"img_size": image_size, **kwargs, "num_classes": 0}
    if source is not None:
        model = load_source(name, source, kwargs)
    elif pretrained:
        with explain_hub_errors(name):
            model = timm.create_model(name, pretrained=True, **kwargs)
        check_finite(model.state_dict(), f"the pretrained weights of {name}")
    else:
        model = build_timm(name, **kwargs)
    if image_size is not None:  # models of any size would keep their pretraining's
        channels = model.pretrained_cfg["input_size"][0]
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (channels, image_size, image_size)}
    model.reset_classifier(num_labels)
    return model


def load_source(name: str, source: Source, kwargs: dict) -> nn.Module:
    """Returns the model with a source's weights; timm resamples position and patch embeddings to its sizes.

    What `kwargs` say of the preprocessing (pretrained_cfg_overlay) goes before the source's own.
    """
    wanted = {key: value for key, value in kwargs.items() if value is not None}
    own = wanted.pop("pretrained_cfg_overlay", {})
    overlay = {**source.preprocessing, **own, "state_dict": source.state, "num_classes": 0, "source": ""}
    try:
        model = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg=source.pretrained_cfg,
            pretrained_cfg_overlay=overlay,
            **{**source.kwargs, **wanted},
        )
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        check_channels(source)
        sizes = describe_sizes(name, source.state, create_outline(name, {**source.kwargs, **wanted}))
        raise InputError(
            f"{source.path} does not fit {name}; model.name and model.kwargs must be those it was made with"
            f"{sizes}:\n{describe_mismatch(error)}{name_origin(source.state)}"
        ) from error
    del model.pretrained_cfg["state_dict"]
    if source.note:
        log.info("%s: %s", source.path, source.note)
    before, now = describe_size(source.state), describe_size(model.state_dict())
    if before not in ("", now):
        log.info("%s was made for %s; resampled to %s", source.path, before, now)
    return model


def check_channels(source: Source) -> None:
    """Raises InputError if a source's first layer is for other images than those of three channels."""
    patch = source.state.get("patch_embed.proj.weight")
    if patch is not None and patch.ndim == 4 and patch.shape[1] != NUM_CHANNELS:
        raise InputError(
            f"{source.path} reads images of {patch.shape[1]} channels; images are RGB, with {NUM_CHANNELS}"
        )


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
