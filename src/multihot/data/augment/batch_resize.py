"""A batch resized at once on any device: the bits of torch's uint8 kernels, whatever is in the batch.

A resize is two products with matrices of weights, one for each side. As in torch's kernels the weights are whole
numbers of up to 15 bits (ATen/native/cpu/UpSampleKernel.cpp). Their upper and lower bytes are multiplied apart: then
each product and sum is exact in float32, and no order of adding, no TF32 and no bfloat16 changes a bit.
"""

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

LARGEST = 2**15 - 0.5  # of a weight
MOST_BITS = 22  # of the fraction of a weight


def resize_batch(
    pixels: Tensor, sizes: Tensor, flips: Tensor, size: tuple[int, int], interpolation: InterpolationMode
) -> Tensor:
    """Returns the pictures of a batch in one size, uint8 (B, 3, height, width).

    Args:
        pixels: uint8 (B, 3, H, W), each picture in the upper left corner.
        sizes: height and width of each (B, 2).
        flips: whether each is turned left to right and upside down, bool (B, 2).
        size: height and width.
    """
    across = create_weights(sizes[:, 1], flips[:, 0], pixels.shape[3], size[1], interpolation)
    down = create_weights(sizes[:, 0], flips[:, 1], pixels.shape[2], size[0], interpolation)
    narrow = multiply(pixels.to(torch.float32, memory_format=torch.contiguous_format), *across)
    return multiply(narrow.mT, *down).mT.to(torch.uint8)


def create_weights(
    lengths: Tensor, is_flipped: Tensor, num_source: int, num_target: int, interpolation: InterpolationMode
) -> tuple[Tensor, Tensor]:
    """Returns the weight of each source pixel in each target pixel (B, num_target, num_source), in whole numbers,
    and the bits (B,) of their fraction.
    """
    source, target = (torch.arange(num, dtype=torch.float64, device=lengths.device) for num in (num_source, num_target))
    target = torch.where(is_flipped[:, None], num_target - 1 - target, target)
    scale = (lengths.double() / num_target)[:, None, None]
    distance = (source - scale * (target[:, :, None] + 0.5) + 0.5) / scale.clamp(min=1)
    weights = KERNELS[interpolation](distance.abs()).masked_fill(source >= lengths[:, None, None], 0)
    weights = weights / weights.sum(dim=2, keepdim=True)
    powers = 2.0 ** torch.arange(1, MOST_BITS + 1, dtype=torch.float64, device=lengths.device)
    bits = (weights.amax(dim=(1, 2))[:, None] * powers < LARGEST).sum(dim=1)
    weights = weights * 2.0 ** bits[:, None, None]
    return (weights + 0.5 * weights.sign()).trunc(), bits


def bicubic(distance: Tensor) -> Tensor:
    """Returns the height of the cubic with a = -0.5, which Pillow and torch's antialiasing have."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


def bilinear(distance: Tensor) -> Tensor:
    """Returns the height of the triangle."""
    return (1 - distance).clamp(min=0)


KERNELS = {InterpolationMode.BICUBIC: bicubic, InterpolationMode.BILINEAR: bilinear}


def multiply(pixels: Tensor, weights: Tensor, bits: Tensor) -> Tensor:
    """Returns pixels (B, 3, H, num_target), whole numbers from 0 to 255, of pixels (B, 3, H, num_source)."""
    upper = (weights / 256).floor()
    parts = (part.float().mT.unsqueeze(1) for part in (upper, weights - 256 * upper))
    upper, lower = ((pixels @ part).int() for part in parts)
    bits = bits.int()[:, None, None, None]
    return ((upper * 256 + lower + (1 << (bits - 1))) >> bits).clamp(0, 255).float()
