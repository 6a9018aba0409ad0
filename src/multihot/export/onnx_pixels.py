"""What turns pixels into what a model reads, as a part of an ONNX graph."""

from collections.abc import Mapping

import numpy as np
from timm.data import create_transform
from torchvision.transforms import CenterCrop, InterpolationMode

from multihot.data.resize import TAKES_TENSORS, WIDEST, TensorResize, use_tensor_resize
from multihot.errors import InputError
from multihot.export.onnx_graph import Part
from multihot.export.onnx_names import IMAGE, PIXELS

MODES = {InterpolationMode.BILINEAR: "linear", InterpolationMode.BICUBIC: "cubic"}
CUBIC = -0.5  # Pillow's, and torchvision's where it smooths


def normalise(part: Part, pixels: str, preprocessing: Mapping) -> str:
    """Names as IMAGE the normalised pixels uint8 (B, 3, H, W): the same arithmetic as in evaluation."""
    mean, std = (255 * np.array(preprocessing[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    centred = part.add("Sub", part.add("Cast", pixels, to=1), mean)
    return part.add("Mul", centred, np.float32(1) / std, output=IMAGE)


def create_normalising(preprocessing: Mapping) -> Part:
    """Returns the part that reads PIXELS of the model's size."""
    part = Part("preprocessing")
    normalise(part, part.add("Transpose", PIXELS, perm=[0, 3, 1, 2]), preprocessing)
    return part


def create_preprocessing(preprocessing: Mapping) -> Part:
    """Returns the part that reads PIXELS of any size: resized, cropped and normalised as in evaluation.

    Raises:
        InputError: evaluation has other steps than a smoothed resize and a crop of the centre.
    """
    transform = use_tensor_resize(create_transform(**preprocessing, use_prefetcher=True))
    resize, *others = transform.transforms
    if not (isinstance(resize, TensorResize) and all(isinstance(step, TAKES_TENSORS) for step in others)):
        raise InputError(
            f"input=photo: crop_mode={preprocessing['crop_mode']} and interpolation={preprocessing['interpolation']} "
            "have no counterpart in ONNX: take input=pixels and resize outside"
        )
    part = Part("preprocessing")
    pixels = part.add("Transpose", PIXELS, perm=[0, 3, 1, 2])
    if isinstance(resize.size, int):
        pixels = crop(part, pixels, part.add("Min", sides(part, pixels), longest(part, pixels)))
        size = scaled_sides(part, pixels, resize.size)
    else:
        size = part.constant(np.array(resize.size))
    # Of all dimensions: of two alone, onnxruntime 1.32 loses a constant size behind a transpose.
    size = part.add("Concat", part.add("Shape", pixels, end=2), size, axis=0)
    pixels = part.add(
        "Resize", pixels, "", "", size, mode=MODES[resize.interpolation], antialias=1,
        cubic_coeff_a=CUBIC, exclude_outside=1,
    )  # fmt: skip
    for step in others:
        if isinstance(step, CenterCrop):
            pixels = crop(part, pixels, part.constant(np.array(step.size)), rounded=True)
    normalise(part, pixels, preprocessing)
    return part


def sides(part: Part, pixels: str) -> str:
    """Returns height and width (2,) of pixels (B, 3, H, W)."""
    return part.add("Shape", pixels, start=2)


def longest(part: Part, pixels: str) -> str:
    """Returns how long a side may be (1,): WIDEST times the shorter one, see `take_middle`."""
    return part.add("Mul", part.add("ReduceMin", sides(part, pixels)), np.array([WIDEST]))


def scaled_sides(part: Part, pixels: str, shorter: int) -> str:
    """Returns height and width (2,) with `shorter` as the shorter one, the other rounded down."""
    before = sides(part, pixels)
    return part.add("Div", part.add("Mul", before, np.array([shorter])), part.add("ReduceMin", before))


def crop(part: Part, pixels: str, size: str, *, rounded: bool = False) -> str:
    """Returns the middle of pixels (B, 3, H, W).

    Args:
        size: height and width (2,).
        rounded: half a pixel begins at the even one, as torchvision has it; else at the one before.
    """
    margin = part.add("Sub", sides(part, pixels), size)
    if rounded:
        half = part.add("Round", part.add("Mul", part.add("Cast", margin, to=1), np.array([0.5], np.float32)))
        start = part.add("Cast", half, to=7)
    else:
        start = part.add("Div", margin, np.array([2]))
    return part.add("Slice", pixels, start, part.add("Add", start, size), np.array([2, 3]))
