"""A Hugging Face folder of a ViT or DINOv2 under timm's names."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from multihot.errors import InputError, check_choice
from multihot.model.weight_files import (
    Source,
    find_weights_file,
    read_json_file,
    read_tensors,
    split_classifier,
)

HF_MODELS = tuple(
    f"{family}{task}"
    for family in ("ViT", "Dinov2", "Dinov2WithRegisters")
    for task in ("Model", "ForImageClassification")
)
HF_KEYS = (  # Hugging Face's part of a key -> timm's, in this order
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.mask_token", "mask_token"),  # Meta's names: timm drops the first and converts the second
    ("embeddings.register_tokens", "register_tokens"),
    ("encoder.layer.", "blocks."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.attention.", "attn."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("mlp.weights_in.", "mlp.fc1."),
    ("mlp.weights_out.", "mlp.fc2."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
    ("classifier.", "head."),
)
HF_SETTINGS = ("model_type", "hidden_size", "image_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
HF_ACTIVATIONS = {  # hidden_act -> timm's act_layer
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
LARGEST_EPS = 1e-5  # of a layer norm; timm has 1e-6, and up to here the difference is not felt


def read_hf_folder(folder: Path, config: dict) -> Source:
    """Returns a Hugging Face ViT or DINOv2 under timm's keys.

    Depth, width and patch size are for model.name to fit; what no shape would show is taken over: the number of heads,
    the activation, biases, input size, and the preprocessing.
    """
    check_choice(f"{folder}/config.json: architectures", config["architectures"][0], HF_MODELS)
    missing = [key for key in HF_SETTINGS if key not in config]
    if missing:
        raise InputError(
            f"{folder}/config.json is not complete: {', '.join(missing)} missing; save_pretrained writes it whole"
        )
    state = rename_hf_keys(read_tensors(find_weights_file(folder)), config["model_type"])
    names = config.get("id2label")
    if names and all(re.fullmatch(r"LABEL_\d+", label) for label in names.values()):
        names = None  # what transformers writes where nobody has given any
    is_multi_label = config.get("problem_type") == "multi_label_classification"
    state, classifier = split_classifier(state, "head", names, is_multi_label)
    if classifier.weight is not None and classifier.weight.shape[1] == 2 * config["hidden_size"]:
        reason = "its classifier reads the class token beside the mean of the patches, a timm head only the class token"
        classifier = replace(classifier, weight=None, bias=None, reason=reason)
    preprocessing = read_hf_preprocessing(folder)
    return Source(folder, state, classifier, read_hf_kwargs(folder, config), preprocessing=preprocessing)


def rename_hf_keys(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Returns a Hugging Face state dict under timm's keys: query, key and value as one tensor, without the pooler."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix(f"{family}.")
        for old, new in HF_KEYS:
            key = key.replace(old, new)
        if not key.startswith("pooler."):
            renamed[key] = value
    for key in [key for key in renamed if ".attn.query." in key]:
        parts = [key.replace(".query.", part) for part in (".query.", ".key.", ".value.")]
        if all(part in renamed for part in parts):
            renamed[key.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def read_hf_kwargs(folder: Path, config: dict) -> dict:
    """Returns the model arguments that a Hugging Face config sets and that the shapes of its tensors do not show.

    The epsilon of the layer norms stays timm's 1e-6: plain timm could not load another from best/. Hugging Face's ViTs
    say 1e-12 where the original had 1e-6; normalised values then differ by 5e-7 of themselves at a variance of 1.
    """
    if config["layer_norm_eps"] > LARGEST_EPS:
        raise InputError(
            f"{folder}/config.json: layer_norm_eps is {config['layer_norm_eps']}; timm's ViTs have 1e-6, unchangeably, "
            "and would give other features with these weights: take another source"
        )
    activation = "silu" if config.get("use_swiglu_ffn") else config["hidden_act"]
    check_choice(f"{folder}/config.json: hidden_act", activation, tuple(HF_ACTIVATIONS))
    return {
        "img_size": config["image_size"],
        "num_heads": config["num_attention_heads"],
        "qkv_bias": config.get("qkv_bias", True),
        "act_layer": HF_ACTIVATIONS[activation],
    }


def read_hf_preprocessing(folder: Path) -> dict:
    """Returns mean, std, interpolation and crop as far as the folder has a preprocessor_config.json that says them."""
    if not (folder / "preprocessor_config.json").is_file():
        return {}
    config, found = read_json_file(folder / "preprocessor_config.json"), {}
    if not config.get("do_normalize", True):
        found = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    elif "image_mean" in config:
        found = {"mean": tuple(config["image_mean"]), "std": tuple(config["image_std"])}
    if "resample" in config:
        found["interpolation"] = Image.Resampling(config["resample"]).name.lower()
    return found | read_hf_crop(config)


def read_hf_crop(config: dict) -> dict:
    """Returns timm's crop for the sizes of a Hugging Face preprocessor; nothing where it does not say them.

    >>> read_hf_crop({"size": {"height": 224, "width": 224}})
    {'crop_pct': 1.0, 'crop_mode': 'squash'}
    >>> read_hf_crop({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224}})
    {'crop_pct': 0.875, 'crop_mode': 'center'}
    """
    size, crop = config.get("size"), config.get("crop_size")
    side = size.get("shortest_edge") if isinstance(size, dict) else None
    if side is not None and config.get("do_center_crop") and isinstance(crop, dict):
        return {"crop_pct": crop["height"] / side, "crop_mode": "center"}
    if size is not None and side is None and config.get("do_resize", True) and not config.get("do_center_crop"):
        return {"crop_pct": 1.0, "crop_mode": "squash"}
    return {}
