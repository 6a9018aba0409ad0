"""timm's random erasing in two halves: drawn for each image where it is read, painted on the model's device."""

from copy import copy

import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor


class Canvas:
    """Takes the place of an image (3, H, W) in `RandomErasing` and notes what is painted on it."""

    dtype = torch.float32

    def __init__(self, *size: int):
        self.sizes, self.boxes, self.colours = size, [], []

    def size(self) -> tuple[int, ...]:
        """Returns the sizes that an image would have."""
        return self.sizes

    def __setitem__(self, place: tuple[slice, slice, slice], colour: Tensor):
        rows, columns = place[1:]
        self.boxes.append([rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start])
        self.colours.append(colour.flatten())


class Erase:
    """Erases parts of normalised images as timm's `RandomErasing` does, with the same numbers.

    Noise is made on the device, by a generator of its own for each image: elsewhere than on a CPU it is other noise.
    """

    def __init__(self, erase: RandomErasing, size: tuple[int, int, int]):
        self.size = size  # of an image
        self.is_noise = erase.per_pixel
        self.erase = copy(erase)
        self.erase.per_pixel, self.erase.device = False, "cpu"

    def draw(self, seed: int) -> dict[str, Tensor]:
        """Returns what is to be erased of an image, drawn from the CPU generators that were seeded with
        `seed`: `box` int64 (R, 4) of top, left, height and width, 0 in height for none, and `colour` float (R, 3).
        """
        canvas = Canvas(*self.size)
        self.erase(canvas)
        box, colour = torch.zeros(self.erase.max_count, 4, dtype=torch.int64), torch.zeros(self.erase.max_count, 3)
        if canvas.boxes:
            box[: len(canvas.boxes)] = torch.tensor(canvas.boxes)
            colour[: len(canvas.boxes)] = torch.stack(canvas.colours)
        return {"box": box, "colour": colour, "seed": torch.tensor(seed)}

    def __call__(self, images: Tensor, drawn: dict[str, Tensor]) -> None:
        """Erases parts of normalised images (B, 3, H, W), in place; what was drawn is on the CPU."""
        colours = drawn["colour"].to(images.device, non_blocking=True)
        for image, boxes, colour, seed in zip(
            images, drawn["box"].tolist(), colours, drawn["seed"].tolist(), strict=True
        ):
            boxes = [box for box in boxes if box[2]]
            fill = self.noise(boxes, image.device, seed) if self.is_noise else colour[:, :, None, None]
            for (top, left, height, width), value in zip(boxes, fill, strict=False):
                image[:, top : top + height, left : left + width] = value

    def noise(self, boxes: list[list[int]], device: torch.device, seed: int) -> list[Tensor]:
        """Returns normal noise (3, height, width) for each box."""
        generator = torch.Generator(device).manual_seed(seed) if boxes else None
        return [torch.empty(3, *box[2:], device=device).normal_(generator=generator) for box in boxes]
