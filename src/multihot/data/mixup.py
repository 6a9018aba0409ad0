"""Mixup and CutMix (timm's) for multi-hot targets in which answers may be unknown."""

import torch
from timm.data import Mixup

from multihot.errors import InputError


class MultiLabelMixup:
    """Mixes a batch with itself in reverse order: image float (B, 3, H, W), target float (B, C) of 0, 1 and -1.

    A label's target becomes the mixture of both; it is unknown if it is so in either image that was mixed. With an odd
    number of images the last one stays as it is.
    """

    def __init__(self, mixup: float, cutmix: float, probability: float, num_labels: int):
        if min(mixup, cutmix) < 0 or not 0 <= probability <= 1:
            raise InputError(
                f"mix.mixup={mixup} mix.cutmix={cutmix} mix.probability={probability}: the first two must be 0 or "
                "more, the last from 0 to 1"
            )
        self.mix = Mixup(
            mixup, cutmix, prob=probability, label_smoothing=0.0, num_classes=2 * num_labels, multi_label=True
        )

    def __call__(self, image: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the mixed image, in place, and the mixed target; draws from numpy's global generator."""
        even = len(image) // 2 * 2
        if even == 0:
            return image, target
        unknown = target < 0
        both = torch.cat([target.clamp(min=0), unknown.float()], dim=1)  # mixed by the same factors
        mixed, both[:even] = self.mix(image[:even], both[:even])
        image[:even] = mixed
        target, unknown = both.chunk(2, dim=1)
        return image, target.masked_fill(unknown > 0, -1.0)


def create_mixup(mixup: float, cutmix: float, probability: float, num_labels: int) -> MultiLabelMixup | None:
    """Returns the mixing of batches, None if both strengths are 0."""
    if mixup == 0 and cutmix == 0:
        return None
    return MultiLabelMixup(mixup, cutmix, probability, num_labels)
