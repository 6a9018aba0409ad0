"""The tensors of a checkpoint that are a model's: found under whatever prefix they have, and checked."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import timm
import torch
from timm.models import VisionTransformer, clean_state_dict
from timm.models.eva import Eva
from torch import Tensor, nn

from multihot.errors import InputError, list_first, name_first, plural

CONTAINERS = ("state_dict_ema.", "model_ema.", "state_dict.", "model.")  # where timm looks, in this order
AVERAGED = re.compile(r"ema[._]|_ema|averaged|teacher|target_encoder")  # prefixes of what training has averaged
TRAINING_ONLY = re.compile(  # first names of what a pretraining adds to a model and throws away
    r"decoder|proj(ect|_head|ection|$)|predict|prototype|queue|momentum|contrastive|dino_|ibot_|ssl_|loss|"
    r"temperature|logit_scale|linear_eval|classification_head|online_|lm_head"
)
ORIGINS = {  # part of a name -> whose it is
    "embeddings.patch_embeddings": "It has the names of Hugging Face: give its folder, with config.json",
    "encoder_layer_0": "It has the names of torchvision, which timm does not read: take weights of timm",
    "lora_A": "It holds low-rank updates: merge them into the model first (peft: merge_and_unload)",
    "layers.0.ln1": "It has the names of MMPretrain, which timm does not read: take weights of timm",
    "exp_avg": "It holds the state of an optimizer: give the file of the model beside it",
}
INDICES = (torch.int64, torch.int32)  # types of buffers that count or point
SIZES = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "large": (1024, 24), "huge": (1280, 32)}


def flatten(content: Mapping, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors of nested mappings, named by all keys on the way with dots between them."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


def pick_state(tensors: Mapping[str, Tensor], outline: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Returns the tensors under the prefix that leaves most of them with names of the model, and what was done.

    Of several models in a checkpoint it is one of the wanted width and depth, of these the averaged one, else the
    first. What a pretraining adds to the model (a decoder, a projection) is left out. Where no prefix fits, the state
    is what timm finds, for its own conversions.
    """
    wanted = {plain(key) for key in outline.state_dict()}
    found = find_prefixes(tensors, wanted)
    most = max(map(len, found.values()), default=0)
    if 2 * most < len(wanted):
        return pick_container(tensors), ""
    fitting = [prefix for prefix in found if len(found[prefix]) == most]
    size = (measure(outline.state_dict()) or ())[:2]  # patches are resampled
    of_size = [prefix for prefix in fitting if (measure(below(tensors, prefix)) or ())[:2] == size] or fitting
    prefix = next(filter(AVERAGED.search, of_size), of_size[0])
    inside = below(tensors, prefix)
    state = {key: value for key, value in inside.items() if plain(key) in wanted or not is_left_out(key, outline)}
    others = [other for other in fitting if other != prefix]
    left_out = [key for key in tensors if key.removeprefix(prefix) not in state or not key.startswith(prefix)]
    left_out = [key for key in left_out if not key.startswith(tuple(others))]
    return state, describe_choice(prefix, others, left_out)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def find_prefixes(keys: Iterable[str], wanted: Collection[str]) -> dict[str, set[str]]:
    """Returns the prefixes, up to a dot of a key, that leave names of the model, with these names.

    >>> find_prefixes(["net.norm.bias", "net.fc.bias"], {"norm.bias"})
    {'net.': {'norm.bias'}}
    """
    found: dict[str, set[str]] = {}
    for key in keys:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key))):
            if plain(key[start:]) in wanted:
                found.setdefault(key[:start], set()).add(plain(key[start:]))
    return found


def is_left_out(key: str, outline: nn.Module) -> bool:
    """Returns whether a pretraining threw the tensor away; timm knows DINOv2 and EVA by the mask token and drops it."""
    is_mask = key == "mask_token" and not isinstance(outline, VisionTransformer | Eva)
    return is_mask or TRAINING_ONLY.match(key) is not None


def name_origin(state: Mapping[str, Tensor]) -> str:
    """Returns whose names a state has that fits no model of timm, and the way out; empty if it is not known."""
    return next((f"\n{words}" for part, words in ORIGINS.items() if any(part in key for key in state)), "")


def plain(key: str) -> str:
    """Returns a key with the same number for every block, so that models of other depths have the same keys.

    >>> plain("blocks.11.norm1.weight")
    'blocks.0.norm1.weight'
    """
    return re.sub(r"\.\d+\.", ".0.", key)


def pick_container(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the first container that timm looks into, without what wrappers put before their names.

    CLIP's projection into the space of texts, which timm makes a classifier of, is left out.
    """
    container = next((name for name in CONTAINERS if any(key.startswith(name) for key in tensors)), "")
    inside = clean_state_dict(below(tensors, container))
    return {key: value for key, value in inside.items() if key != "visual.proj"}


def describe_choice(prefix: str, others: Sequence[str], left_out: Sequence[str]) -> str:
    """Returns in words what was taken of a checkpoint; empty if that is all there is, under plain names."""
    parts = [f"the weights are those under {prefix!r}, which was taken off"] if prefix else []
    if others:
        parts.append(f"other models in it are not used ({', '.join(map(repr, others))})")
    if left_out:
        names = list(dict.fromkeys(".".join(key.split(".")[:2]) for key in left_out))
        parts.append(f"{plural(len(left_out), 'tensor')} not the model's left out ({name_first(names, limit=4)})")
    return "; ".join(parts)


def check_state(state: Mapping[str, Tensor], outline: nn.Module, path: Path) -> None:
    """Raises InputError with the tensors that hold no numbers of full precision where the model has them, or NaN."""
    expected = {plain(key): value for key, value in outline.state_dict().items()}
    faults = []
    for key, value in state.items():
        model_has = expected.get(plain(key))
        is_index = value.dtype in INDICES if model_has is None else not model_has.is_floating_point()
        fault = find_fault(value, is_index)
        if fault:
            faults.append(f"{key}: {fault}")
    if faults:
        raise InputError(
            f"{path} holds no weights as a model is trained with: quantised or converted ones must be turned back into "
            f"float32, float16 or bfloat16 where they were made:\n{list_first(faults)}"
        )
    check_finite(state, str(path))


def find_fault(tensor: Tensor, is_index: bool) -> str | None:
    """Returns why a tensor cannot be taken as weights, or as the index that it is; None if it can."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return "it has no values" if tensor.is_meta else f"it is {tensor.layout}"
    is_float = tensor.is_floating_point() and tensor.dtype.itemsize > 1
    if tensor.is_quantized or tensor.is_complex() or (not is_index and not is_float):
        return f"it is {str(tensor.dtype).removeprefix('torch.')}"
    return None


def check_finite(state: Mapping[str, Tensor], place: str) -> None:
    """Raises InputError with the tensors that hold NaN or infinite numbers.

    Args:
        place: file or folder that they are from.
    """
    faults = [
        f"{key}: {int((~value.isfinite()).sum())} of {value.numel()} numbers"
        for key, value in state.items()
        if not is_finite(key, value)
    ]
    if faults:
        raise InputError(
            f"{place} holds NaN or infinite numbers in {len(faults)} of {len(state)} tensors: the training that wrote "
            f"it had failed, or the file is damaged. Take an earlier checkpoint, or download it anew:\n"
            f"{list_first(faults)}"
        )


def is_finite(key: str, value: Tensor) -> bool:
    """Returns whether a tensor holds neither NaN nor infinite numbers; a mask may hold -inf, a bound (Gemma) both."""
    if not value.is_floating_point() or bool(value.isfinite().all()):
        return True
    return key.endswith("mask") or (key.endswith(("_min", "_max")) and not value.isnan().any())


def describe_size(state: Mapping[str, Tensor]) -> str:
    """Returns for how many patches of which size a ViT was made, in words; empty if it does not show."""
    patch, positions = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    if patch is None or patch.ndim != 4 or positions is None or positions.ndim != 3:
        return ""
    return f"{positions.shape[1]} positions and patches of {patch.shape[-2]} x {patch.shape[-1]} pixels"


def measure(state: Mapping[str, Tensor]) -> tuple[int, int, int] | None:
    """Returns width, depth and patch size of a ViT's state dict, None if they do not show."""
    patch = state.get("patch_embed.proj.weight")
    blocks = [int(found[1]) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))]
    if patch is None or patch.ndim != 4 or not blocks:
        return None
    return patch.shape[0], max(blocks) + 1, patch.shape[-1]


def describe_sizes(name: str, state: Mapping[str, Tensor], outline: nn.Module) -> str:
    """Returns in what a source's size differs from the model's, and which model of timm has it, if one is alike."""
    source, model = measure(state), measure(outline.state_dict())
    if source is None or model is None or source[:2] == model[:2]:
        return ""
    words = "; it has width {} and depth {}, the model {} and {}".format(*source[:2], *model[:2])
    size = next((size for size in SIZES if SIZES[size] == source[:2]), None)
    alike = re.sub("|".join(SIZES), str(size), name.partition(".")[0], count=1)
    alike = re.sub(r"patch\d+", f"patch{source[2]}", alike)
    if not size or not timm.is_model(alike):
        return words
    way_out = "leave out model.kwargs" if alike == name.partition(".")[0] else f"try model.name={alike}"
    return f"{words}: {way_out}"
