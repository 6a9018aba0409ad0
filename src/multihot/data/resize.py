"""timm's crop and resize, computed by torchvision's uint8 kernels: faster than Pillow's, equal to one grey level.

Pillow 13.0.0 differs by more in tall pictures, which it resizes columns first: findings/pillow_tall_resize.sh.
"""

import math

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import MaybePILToTensor, RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Resize,
    ToPILImage,
)
from torchvision.transforms.v2 import functional

NATIVE = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
WIDEST = 50  # longer side to shorter: enlarged whole, a line of 1 x 20,000 pixels would fill gigabytes
TAKES_TENSORS = (CenterCrop, RandomHorizontalFlip, RandomVerticalFlip, MaybePILToTensor)


def to_pixels(image: Image.Image | Tensor) -> Tensor:
    """Returns the pixels of an RGB image, uint8 (3, H, W)."""
    return image if isinstance(image, Tensor) else torch.from_numpy(np.array(image)).permute(2, 0, 1)


def resize(pixels: Tensor, size: list[int], interpolation: InterpolationMode) -> Tensor:
    """Returns pixels (3, H, W) of the size [height, width], or [shorter side]; the same tensor if they have it."""
    return functional.resize(pixels, size, interpolation, antialias=True)


def take_middle(pixels: Tensor) -> Tensor:
    """Returns the middle of pixels (3, H, W) that are more than WIDEST times as long as wide; else the same tensor."""
    height, width = pixels.shape[1:]
    most = WIDEST * min(height, width)
    if max(height, width) <= most:
        return pixels
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return pixels[:, top : top + min(height, most), left : left + min(width, most)]


class TensorResize(Resize):
    """torchvision's Resize of an RGB image or its pixels; gives pixels."""

    def forward(self, img: Image.Image | Tensor) -> Tensor:
        """Returns the image resized, uint8 (3, H, W)."""
        pixels = to_pixels(img)
        if isinstance(self.size, int):  # of the shorter side; then the centre is cut out
            return resize(take_middle(pixels), [self.size], self.interpolation)
        return resize(pixels, list(self.size), self.interpolation)


class TensorRandomResizedCrop(RandomResizedCropAndInterpolation):
    """timm's random crop, resized to `size`, of an RGB image or its pixels; gives pixels."""

    def __call__(self, img: Image.Image | Tensor) -> Tensor:
        """Returns a crop, resized, uint8 (3, H, W)."""
        return resize(self.cut(img), list(self.size), self.interpolation)

    def cut(self, img: Image.Image | Tensor) -> Tensor:
        """Returns a crop as it is (3, h, w); the same numbers are drawn as by timm's class."""
        top, left, height, width = self.get_params(img, self.scale, self.ratio)
        return to_pixels(img)[:, top : top + height, left : left + width]


def use_tensor_resize(transform: Compose) -> Compose:
    """Returns a timm transform with its resize computed by torchvision's kernels, if these can.

    Steps that need a Pillow image after it are given one.
    """
    first, *others = transform.transforms
    faster = replace_step(first)
    if faster is first:
        return transform
    needs_pillow = not all(isinstance(step, TAKES_TENSORS) for step in others)
    return Compose([faster, *[ToPILImage()] * needs_pillow, *others])


def replace_step(step: object) -> object:
    """Returns the faster form of a step, or the step itself."""
    if getattr(step, "interpolation", None) not in NATIVE:
        return step
    if type(step) is RandomResizedCropAndInterpolation:
        faster = TensorRandomResizedCrop(step.size, step.scale, step.ratio)
        faster.interpolation = step.interpolation
        return faster
    if type(step) is Resize and step.antialias:
        return TensorResize(step.size, step.interpolation)
    return step


def needed_side(transform: Compose) -> int | None:
    """Returns the shorter side, in pixels, that a picture must have so that no step enlarges it; None: not known.

    >>> from timm.data import create_transform
    >>> needed_side(create_transform(224, crop_pct=0.9))
    248
    >>> needed_side(create_transform(224, is_training=True, scale=(0.5, 1)))
    317
    """
    first = transform.transforms[0]
    if isinstance(first, Resize):
        return first.size if isinstance(first.size, int) else max(first.size)
    if isinstance(first, RandomResizedCropAndInterpolation):
        return math.ceil(max(first.size) / math.sqrt(first.scale[0]))
    return None
