"""Where in a picture a model sees a label: how much each patch of a timm ViT speaks for a logit.

In scenes of several digits, whose places are known, `gradient_attention` points at the digit in 98% of cases, attention
rollout, which knows nothing of labels, in 27%, a random patch in 12% (scripts/pointing_game.py, docs/report.md).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_input_data_config
from torch import Tensor, nn

from multihot.data.loader import create_steps
from multihot.errors import InputError, check_choice
from multihot.labels import LabelSpace
from multihot.model.saved import load_model

COLOUR = (255, 96, 0)  # of what speaks for a label
STRENGTH = 0.75  # of the colour where the saliency is 1


class Trace(NamedTuple):
    """What a pass through a model leaves, or the gradients of a score with respect to it."""

    tokens: Tensor  # (B, T, D), that the head reads
    patches: Tensor  # (B, P, D) or (B, h, w, D), before the first block
    attention: list[Tensor]  # (B, heads, T, T) of each block


def find_saliency(
    model: nn.Module,
    image: Tensor,
    label: Sequence[int],
    *,
    space: LabelSpace | None = None,
    method: str | None = None,
) -> Tensor:
    """Returns how much each patch speaks for a label, float32 (B, h, w) from 0 to 1, a label a picture.

    The model is left as it was. Memory: the attention of all blocks, twice; hand over few large pictures at once.

    Args:
        image: (B, 3, H, W) as the model wants it.
        label: the column of each image's label (B,).
        space: explains a label of an exclusive group by its log-odds against the others; None: by its logit.
        method: one of METHODS; None: `gradient_attention`, or `gradient_input` of a model without attention maps.

    Raises:
        InputError: the model has no patches, or no attention maps and the method needs them.
    """
    image = image.detach().clone().requires_grad_()  # so that a frozen model has gradients too
    with torch.enable_grad():
        trace, logits = run_traced(model, image)
        log_odds = logits if space is None else space.log_odds(logits)
        score = log_odds[torch.arange(len(image)), torch.as_tensor(label)].sum()
        tokens, patches, *attention = torch.autograd.grad(score, [trace.tokens, trace.patches, *trace.attention])
    method = method or ("gradient_attention" if trace.attention else "gradient_input")
    check_choice("the method of a saliency", method, tuple(METHODS))
    if method != "gradient_input" and not trace.attention:
        raise InputError(f"{type(model).__name__} has no attention maps of all its patches: take gradient_input")
    with torch.no_grad():
        relevance = METHODS[method](trace, Trace(tokens, patches, attention))
    return scale(relevance).unflatten(1, find_grid(trace.patches, image))


def run_traced(model: nn.Module, image: Tensor) -> tuple[Trace, Tensor]:
    """Returns the trace of images (B, 3, H, W) and their logits (B, C), computed in evaluation mode."""
    if not isinstance(getattr(model, "patch_embed", None), nn.Module):
        raise InputError(
            f"{type(model).__name__} has no patches, of which alone a saliency is known: leave it out (saliency=false)"
        )
    with recording(model) as (patches, attention):
        tokens = model.forward_features(image)
        logits = model.forward_head(tokens)
    num_tokens = tokens.shape[1]
    return Trace(tokens, patches[0], [one for one in attention if one.shape[-2:] == (num_tokens, num_tokens)]), logits


@contextmanager
def recording(model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Gives two lists that the patches and the attention maps of a pass are added to, which fused attention, switched
    off meanwhile, would not compute.
    """
    patches, attention = [], []
    blocks = [part for part in model.modules() if hasattr(part, "fused_attn") and hasattr(part, "attn_drop")]
    fused, training = [block.fused_attn for block in blocks], {part: part.training for part in model.modules()}
    hooks = [model.patch_embed.register_forward_hook(lambda _part, _inputs, output: patches.append(output))]
    for block in blocks:
        hooks.append(block.attn_drop.register_forward_hook(lambda _part, _inputs, output: attention.append(output)))
        block.fused_attn = False
    try:
        model.eval()
        yield patches, attention
    finally:
        for hook in hooks:
            hook.remove()
        for block, was_fused in zip(blocks, fused, strict=True):
            block.fused_attn = was_fused
        for part, was_training in training.items():
            part.training = was_training


def weigh_attention(trace: Trace, gradients: Trace) -> Tensor:
    """Returns by how much the score rises with the attention that each patch gets (B, P): the sum over tokens of
    attention times gradient, of those heads of all blocks in which it is above 0.

    The gradient of what the classifier reads, where arxiv.org/abs/2103.15679 begins, is left out: a token of the last
    block knows of more than its patch, and with classifiers that read all tokens that points anywhere (0.21 to 0.51).
    """
    pairs = zip(trace.attention, gradients.attention, strict=True)
    relevance = sum((attention * gradient).sum(dim=2).clamp(min=0).sum(dim=1) for attention, gradient in pairs)
    return relevance[:, -num_patches(trace) :]


def roll_out(trace: Trace, gradients: Trace) -> Tensor:
    """Returns attention rollout (B, P), arxiv.org/abs/2005.00928: attention averaged over heads, half of each block
    skipped, back from the tokens that the head reads. Of the label it knows no more than these.
    """
    relevance = gradients.tokens.norm(dim=-1)
    for attention in trace.attention[::-1]:
        relevance = (relevance + torch.einsum("bt,bts->bs", relevance, attention.mean(dim=1))) / 2
    return relevance[:, -num_patches(trace) :]


def weigh_patches(trace: Trace, gradients: Trace) -> Tensor:
    """Returns gradient times value of each patch (B, P), summed over the features that raise the score."""
    return (trace.patches * gradients.patches).clamp(min=0).sum(dim=-1).flatten(1)


METHODS = {"gradient_attention": weigh_attention, "rollout": roll_out, "gradient_input": weigh_patches}


def num_patches(trace: Trace) -> int:
    """Returns P; the first of the tokens are class and register tokens."""
    return trace.patches[0, ..., 0].numel()


def find_grid(patches: Tensor, image: Tensor) -> tuple[int, int]:
    """Returns rows and columns of the patches of images (B, 3, H, W)."""
    if patches.ndim == 4:
        return patches.shape[1], patches.shape[2]
    height, width = image.shape[2:]
    num_rows = round((patches.shape[1] * height / width) ** 0.5)
    return num_rows, patches.shape[1] // num_rows


def scale(relevance: Tensor) -> Tensor:
    """Returns the relevance (B, P) from 0 to 1 in each image; 0 where all patches are alike.

    >>> scale(torch.tensor([[1.0, 2.0, 5.0], [3.0, 3.0, 3.0]])).tolist()
    [[0.0, 0.25, 1.0], [0.0, 0.0, 0.0]]
    """
    low, high = relevance.aminmax(dim=1, keepdim=True)
    return (relevance - low) / torch.where(high > low, high - low, 1)


def create_explainer(
    model: nn.Module, space: LabelSpace, method: str | None = None
) -> Callable[[Image.Image, int], tuple[Image.Image, np.ndarray]]:
    """Returns a function (picture, label) -> (the part of the picture that the model sees, its saliency (h, w)).

    Args:
        model: as `load_model` gives it.
        method: see `find_saliency`.
    """
    preprocessing = resolve_input_data_config(model)
    transform, _ = create_steps(create_transform, preprocessing)
    mean, std = (torch.tensor(preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))

    def explain(picture: Image.Image, label: int) -> tuple[Image.Image, np.ndarray]:
        pixels = torch.as_tensor(transform(picture))
        image = (pixels / 255 - mean) / std
        saliency = find_saliency(model, image[None], [label], space=space, method=method)[0]
        return Image.fromarray(pixels.permute(1, 2, 0).numpy()), saliency.numpy()

    return explain


def load_explainer(best: Path, space: LabelSpace) -> Callable[[Image.Image, int], Image.Image]:
    """Returns (picture, label) -> what the model in a folder sees of it, coloured where it speaks for the label."""
    explain = create_explainer(load_model(best, space.labels).eval(), space)
    return lambda picture, label: overlay(*explain(picture, label))


def overlay(picture: Image.Image, saliency: np.ndarray) -> Image.Image:
    """Returns a picture in grey, coloured where its saliency (h, w) from 0 to 1 is high."""
    mask = Image.fromarray(np.uint8(np.rint(255 * STRENGTH * saliency))).resize(picture.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", picture.size, COLOUR), ImageOps.grayscale(picture).convert("RGB"), mask)
