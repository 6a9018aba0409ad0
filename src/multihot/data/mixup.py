"""Mixup and CutMix (timm's) for multi-hot targets in which answers may be unknown."""

import torch
from timm.data import Mixup


class MultiLabelMixup:
    """Mixes a batch with itself in reverse order: image float (B, 3, H, W), target float (B, C) of 0, 1 and -1.

    A label's target becomes the mixture of both; it is unknown if it is so in either image that was mixed. With an odd
    number of images the last one stays as it is.

    With weights (B,) each image counts its own in every mixture that it is part of. Of shares a and b and weights v
    and w, a mixture of targets y and z has the weight a v + b w and the target (a v y + b w z) / (a v + b w), so that a
    loss that is linear in the target, as BCE, is a v L(y) + b w L(z). The answers of an image of weight 0, unknown ones
    too, count nothing.
    """

    def __init__(self, mixup: float, cutmix: float, num_labels: int):
        self.mix = Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=2 * num_labels + 1, multi_label=True)

    def __call__(
        self, image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns the mixed image, in place, target and weight; draws from numpy's global generator."""
        even = len(image) // 2 * 2
        if even == 0:
            return image, target, weight
        own = torch.ones_like(target[:, :1]) if weight is None else weight.unsqueeze(1)
        parts = torch.cat([target.clamp(min=0) * own, (target < 0) * own, own], dim=1)  # mixed by the same shares
        image[:even], parts[:even] = self.mix(image[:even], parts[:even])
        target, unknown, own = parts.tensor_split([target.shape[1], 2 * target.shape[1]], dim=1)
        if weight is not None:
            # rounding could lift the quotient above 1; nothing is learned of a mixture of weight 0
            target, weight = (target / own).nan_to_num(0).clamp(max=1), own.squeeze(1)
        return image, target.masked_fill(unknown > 0, -1.0), weight


def create_mixup(mixup: float, cutmix: float, num_labels: int) -> MultiLabelMixup | None:
    """Returns the mixing of batches, None if both strengths are 0."""
    if mixup == 0 and cutmix == 0:
        return None
    return MultiLabelMixup(mixup, cutmix, num_labels)
