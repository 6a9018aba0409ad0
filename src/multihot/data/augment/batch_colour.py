"""Brightness, contrast, saturation and grey of a batch at once, in the whole numbers that Pillow computes with."""

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # as torchvision's ColorJitter numbers them
GREY_SHARES = (19595, 38470, 7471)  # of red, green and blue, in 65536ths: ITU-R 601-2, Pillow's convert("L")


def colour_batch(pixels: Tensor, kinds: Tensor, factors: Tensor) -> Tensor:
    """Returns the colours of a batch changed, uint8 (B, 3, H, W): of each picture K times, by kinds and factors (B, K).

    A factor of 1 changes nothing; saturation by 0 is grey.
    """
    for kind, factor in zip(kinds.unbind(1), factors.unbind(1), strict=True):
        pixels = blend(pixels, kind[:, None, None, None], factor[:, None, None, None])
    return pixels


def blend(pixels: Tensor, kind: Tensor, factor: Tensor) -> Tensor:
    """Returns what lies between each picture and its dull form (black, its mean grey, its greys), or beyond it."""
    red, green, blue = pixels.int().split(1, dim=1)
    greys = (GREY_SHARES[0] * red + GREY_SHARES[1] * green + GREY_SHARES[2] * blue + 2**15) >> 16
    num_pixels = greys.shape[2] * greys.shape[3]
    mean = (2 * greys.sum(dim=(2, 3), keepdim=True) + num_pixels) // (2 * num_pixels)  # rounded half up
    dull = torch.where(kind == CONTRAST, mean, torch.where(kind == SATURATION, greys, 0)).float()
    return (dull + factor * (pixels - dull)).clamp(0, 255).to(torch.uint8)  # cuts the fraction off, as Pillow does
