"""timm's training transform in two halves: drawn for each image by a worker, computed for a batch on a device."""

from collections.abc import Callable

import torch
from PIL import Image
from timm.data.transforms import MaybePILToTensor
from torch import Tensor
from torchvision.transforms import (
    ColorJitter,
    Compose,
    InterpolationMode,
    RandomApply,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomVerticalFlip,
)

from multihot.data.augment.batch_colour import BRIGHTNESS, SATURATION, colour_batch
from multihot.data.augment.batch_resize import resize_batch
from multihot.data.resize import TensorRandomResizedCrop, replace_step, resize
from multihot.errors import InputError

SPARE = 4  # times the input: a larger crop is halved before it travels
AT_ONCE = 32  # images whose weights, in float64, are held at once
Changes = list[tuple[int, float]]  # of colour: kind and factor, in their order


class OnDevice(Compose):
    """A worker's half: calls give the crop of an image, uint8 (3, h, w), and the numbers that were drawn for it.

    They are those that the steps of timm's transform draw, in their order, from the same generators.

    Raises:
        InputError: a step is computed by Pillow alone.
    """

    def __init__(self, transform: Compose):
        first, *others = transform.transforms
        super().__init__([replace_step(first), *others])
        if not isinstance(self.transforms[0], TensorRandomResizedCrop):
            raise refuse("a random crop (train_crop_mode=rrc) that is resized bilinear or bicubic, no other")
        for step in others:
            check_step(step)

    def __call__(self, img: Image.Image | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the crop, and its `size` int (2,), `flip` bool (2,), and `kind` and `factor` (K,) of its colours."""
        first, *others = self.transforms
        crop = halve(first.cut(img), first.size)
        flip, changes = [False, False], []
        for step in others:
            if isinstance(step, RandomHorizontalFlip | RandomVerticalFlip):
                flip[isinstance(step, RandomVerticalFlip)] = draw_yes(step.p)
            else:
                changes += draw_colours(step)
        kinds, factors = zip(*changes, strict=True) if changes else ((), ())
        drawn = {"size": torch.tensor(crop.shape[1:]), "flip": torch.tensor(flip)}
        return crop, drawn | {"kind": torch.tensor(kinds, dtype=torch.int64), "factor": torch.tensor(factors)}

    def compute(self, pixels: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Returns the augmented batch, uint8 (B, 3, H, W), of crops in the upper left corners, on their device."""
        names = ("size", "flip", "kind", "factor")
        parts = zip(pixels.split(AT_ONCE), *(drawn[name].split(AT_ONCE) for name in names), strict=True)
        return torch.cat([self.compute_part(*part) for part in parts])

    def compute_part(self, pixels: Tensor, size: Tensor, flip: Tensor, kind: Tensor, factor: Tensor) -> Tensor:
        """Returns what `compute` does, of some of the images."""
        first = self.transforms[0]
        return colour_batch(resize_batch(pixels, size, flip, first.size, first.interpolation), kind, factor)


def halve(crop: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns a crop (3, h, w), halved until no side is more than SPARE times that of the input."""
    sides = list(crop.shape[1:])
    for axis, side in enumerate(size):
        while sides[axis] > SPARE * side:
            sides[axis] = (sides[axis] + 1) // 2
    return resize(crop, sides, InterpolationMode.BILINEAR)


def draw_yes(probability: float) -> bool:
    """Returns whether a step with this probability acts, as torchvision's steps ask."""
    return bool(torch.rand(1) < probability)


def draw_colours(step: Callable) -> Changes:
    """Returns the changes of colour that a step draws; as many each time."""
    if isinstance(step, RandomGrayscale):
        return [(SATURATION, 0.0 if draw_yes(step.p) else 1.0)]
    if isinstance(step, RandomApply):
        (jitter,) = step.transforms
        return [(BRIGHTNESS, 1.0)] * num_changes(jitter) if step.p < torch.rand(1) else draw_colours(jitter)
    if isinstance(step, ColorJitter):
        order, *factors = step.get_params(step.brightness, step.contrast, step.saturation, step.hue)
        return [(kind, factors[kind]) for kind in order.tolist() if factors[kind] is not None]
    return []


def num_changes(jitter: ColorJitter) -> int:
    """Returns how many changes of colour a step draws."""
    return sum(part is not None for part in (jitter.brightness, jitter.contrast, jitter.saturation))


def check_step(step: Callable) -> None:
    """Raises InputError for a step that has no form for batches."""
    (step,) = step.transforms if isinstance(step, RandomApply) else (step,)
    if not isinstance(
        step, RandomHorizontalFlip | RandomVerticalFlip | ColorJitter | RandomGrayscale | MaybePILToTensor
    ):
        raise refuse("none of augment.auto_augment and augment.gaussian_blur_prob")
    if isinstance(step, ColorJitter) and step.hue is not None:
        raise refuse("augment.color_jitter of three numbers, without a fourth for the hue")


def refuse(takes: str) -> InputError:
    """Returns an error that says what augmentation on the device takes."""
    return InputError(f"augment.device=true takes {takes}: set augment.device=false, or change that")
