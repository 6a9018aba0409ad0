"""The name and the arguments of a timm model, checked by building it without memory for its weights."""

import difflib
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache

import timm
import torch
from timm.layers import PatchEmbed
from torch import nn
from torch.overrides import TorchFunctionMode

from multihot.errors import InputError
from multihot.model.hub import explain_hub_errors

NUM_CHANNELS = 3
# what torch, timm and their like raise where an argument is wrong
BUILD_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, RuntimeError, AttributeError)
TAKEN = {  # arguments of timm that others of our settings give -> the way out
    "img_size": "set model.image_size",
    "num_classes": "it follows from the labels of the data",
    "pretrained": "set model.pretrained",
    "pretrained_cfg": "set entries of it by model.kwargs.pretrained_cfg_overlay",
    "checkpoint_path": "set model.weights",
    "features_only": "a classifier needs the whole model",
    "out_indices": "a classifier needs the whole model",
    "model_name": "set model.name",
}
FILLS = ("uniform_", "normal_", "trunc_normal_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_")
CHECKED: set[tuple[str, str, str]] = set()  # what `check_model` has built once and found right: a run asks three times


def check_model(name: str, image_size: int | None, kwargs: Mapping, source_kwargs: Mapping | None = None) -> None:
    """Raises InputError unless there is such a model and it takes these settings.

    Args:
        source_kwargs: arguments that come with the weights, where `kwargs` has no others.
    """
    check_settings(image_size, kwargs)
    of_source = {key: value for key, value in (source_kwargs or {}).items() if value is not None}
    arguments = {**of_source, **kwargs}
    if image_size is not None:
        arguments["img_size"] = image_size
    known = (name, repr(arguments), repr(kwargs))  # as text: 1 is not True
    if known in CHECKED:
        return
    model = create_outline(name, arguments)
    check_types(model, kwargs)
    check_own_tensors(name, model)
    check_patches(model, arguments)
    channels = (model.pretrained_cfg.get("input_size") or (NUM_CHANNELS,))[0]
    if channels != NUM_CHANNELS:
        raise InputError(f"model.name={name} is for images of {channels} channels; images are read as RGB, with 3")
    CHECKED.add(known)


def create_outline(name: str, kwargs: Mapping | None = None) -> nn.Module:
    """Returns the timm model without a classifier and without values, which takes no memory and a tenth of a second.

    Raises:
        InputError: there is no such model, or it does not take these arguments.
    """
    check_name(name)
    arguments = {**(kwargs or {}), "num_classes": 0}
    try:
        return build_on_meta(name, arguments)
    except BUILD_ERRORS as error:
        raise InputError(name_faulty_arguments(name, arguments, error)) from error


@cache
def outline_of(name: str) -> nn.Module:
    """Returns `create_outline` of a model with its own arguments."""
    return create_outline(name)


@cache
def head_keys(name: str) -> frozenset[str]:
    """Returns the names of the tensors that the model has with a classifier alone, of norms beside it too (LeViT)."""
    with_classifier = build_on_meta(name, {"num_classes": 2}).state_dict()
    return frozenset(with_classifier) - frozenset(outline_of(name).state_dict())


def build_timm(name: str, **kwargs) -> nn.Module:
    """Returns timm.create_model(name, **kwargs); an argument that the model does not take is an InputError."""
    try:
        with explain_hub_errors(name) if ":" in name else nullcontext():
            return timm.create_model(name, **kwargs)
    except InputError:
        raise
    except BUILD_ERRORS as error:
        raise InputError(name_faulty_arguments(name, kwargs, error)) from error


def build_on_meta(name: str, kwargs: Mapping) -> nn.Module:
    """Returns the model with tensors that have a shape and no values."""
    with torch.device("meta"), LeavingUnfilled():
        return timm.create_model(name, **kwargs)


class LeavingUnfilled(TorchFunctionMode):
    """Leaves out what fills a tensor: of one without values it is most of the work."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ in FILLS:
            return next(iter((*args, *(kwargs or {}).values())))  # the tensor, of torch.nn.init by its name
        return function(*args, **(kwargs or {}))


def name_faulty_arguments(name: str, arguments: Mapping, error: Exception) -> str:
    """Returns what to say of arguments with which a model cannot be built: which one it is, if that alone is at fault.

    Which one is found by leaving out each in turn.
    """
    settings = {key: value for key, value in arguments.items() if value is not None and key != "num_classes"}
    faulty = []
    for key, value in [] if ":" in name else settings.items():
        try:
            build_on_meta(name, {other: value for other, value in arguments.items() if other != key})
        except BUILD_ERRORS:
            continue
        faulty.append(f"model.image_size={value}" if key == "img_size" else f"model.kwargs.{key}={value}")
    reason = (str(error).splitlines() or [""])[0].rstrip(".:")
    reason = f"{type(error).__name__} {reason}".rstrip() if len(reason) < 20 else reason
    place = " or ".join(faulty) or "model.kwargs"
    return f"{name} cannot be built with {settings}: {reason}.\nCorrect or leave out {place}"


def check_settings(image_size: int | None, kwargs: Mapping) -> None:
    """Raises InputError for an image size that is none, and for arguments that other settings give."""
    is_size = isinstance(image_size, int) and not isinstance(image_size, bool) and image_size >= 1
    if image_size is not None and not is_size:
        raise InputError(
            f"model.image_size={image_size}: it must be a whole number of pixels, the width and height of a square; "
            "null: the model's own"
        )
    taken = [f"model.kwargs.{key}={kwargs[key]}: {TAKEN[key]}" for key in kwargs if key in TAKEN]
    if kwargs.get("in_chans", NUM_CHANNELS) != NUM_CHANNELS:
        taken.append(f"model.kwargs.in_chans={kwargs['in_chans']}: images are read as RGB, with 3 channels")
    if kwargs.get("global_pool") == "":
        taken.append("model.kwargs.global_pool is empty: heads on tokens (head=csra) turn pooling off themselves")
    if taken:
        raise InputError("\n".join(taken))


def check_types(model: nn.Module, kwargs: Mapping) -> None:
    """Raises InputError for what is not true or false where the argument's default is: timm takes words for true."""
    parameters = inspect.signature(type(model).__init__).parameters
    faults = [
        f"model.kwargs.{key}={value}: it is true or false"
        for key, value in kwargs.items()
        if key in parameters and isinstance(parameters[key].default, bool) and not isinstance(value, bool | None)
    ]
    if faults:
        raise InputError("\n".join(faults))


def check_own_tensors(name: str, model: nn.Module) -> None:
    """Raises InputError if a weight has two names, which a .safetensors file cannot hold (CoaT)."""
    owner: dict[nn.Parameter, str] = {}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        if owner.setdefault(parameter, key) != key:
            raise InputError(
                f"model.name={name}: its {key} is its {owner[parameter]} too, and safetensors saves no weight twice: "
                "take another model"
            )


def check_patches(model: nn.Module, kwargs: dict) -> None:
    """Raises InputError with the nearest sizes if the patches of a chosen size leave out the edges of the image.

    What a model was pretrained with passes (384 pixels in patches of 14), and so does a model that pads.
    """
    embed = getattr(model, "patch_embed", None)
    if not isinstance(embed, PatchEmbed) or embed.img_size is None or embed.dynamic_img_pad:
        return
    own_size = kwargs.get("img_size") is None or embed.img_size == tuple(model.pretrained_cfg["input_size"][1:])
    if own_size and "patch_size" not in kwargs:
        return
    for size, patch in zip(embed.img_size, embed.patch_size, strict=True):
        check_fills(f"model.image_size={size}", size, patch)


def check_train_size(name: str, train_image_size: int, kwargs: Mapping) -> None:
    """Raises InputError unless the model takes images of several sizes, and this one fills its patches."""
    place = f"model.train_image_size={train_image_size}"
    try:
        model = build_on_meta(name, {**kwargs, "dynamic_img_size": True, "num_classes": 0})
        for patch in model.patch_embed.patch_size:
            check_fills(place, train_image_size, patch)
        model(torch.empty(1, NUM_CHANNELS, train_image_size, train_image_size, device="meta"))
    except InputError:
        raise
    except BUILD_ERRORS as error:
        raise InputError(f"{place}: {name} takes images of one size only; set it to null") from error


def check_fills(place: str, size: int, patch: int) -> None:
    """Raises InputError with the nearest sizes unless this many pixels are whole patches."""
    if size % patch:
        below = size // patch * patch
        raise InputError(
            f"{place} is no multiple of the model's patches of {patch} pixels, which leave out the last {size % patch} "
            f"pixels: choose {f'{below} or ' if below else ''}{below + patch}"
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
