"""Mixup and CutMix (timm's) for multi-hot targets in which answers may be unknown."""

import torch
from timm.data import Mixup


class MultiLabelMixup:
    """Mixes a batch with itself in reverse order: image float (B, 3, H, W), target float (B, C) of 0, 1 and -1,
    which may be sparse.

    A label's target becomes the mixture of both; it is unknown if it is so in either image that was mixed. With an odd
    number of images the last one stays as it is.

    With weights (B,) each image counts its own in every mixture that it is part of. Of shares a and b and weights v
    and w, a mixture of targets y and z has the weight a v + b w and the target (a v y + b w z) / (a v + b w), so that a
    loss that is linear in the target, as BCE, is a v L(y) + b w L(z). The answers of an image of weight 0, unknown ones
    too, count nothing.
    """

    def __init__(self, mixup: float, cutmix: float):
        self.strengths = mixup, cutmix

    def __call__(
        self, image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns the mixed image, in place, target, sparse if it was, and weight; draws from numpy's generator."""
        if len(image) < 2:
            return image, target, weight
        own, other, partner = self._mix_images(image)
        if weight is not None:
            own, other = own * weight, other * weight[partner]
        total = None if weight is None else own + other
        mix = _mix_sparse if target.is_sparse else _mix_dense
        return image, mix(target, own, other, partner, total), total

    def _mix_images(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the shares (B,) of each image and of its partner in their mixture, and who that is."""
        even = len(image) // 2 * 2
        mix = Mixup(*self.strengths, label_smoothing=0.0, num_classes=even, multi_label=True)
        image[:even], shares = mix(image[:even], torch.eye(even, device=image.device))  # who is in each mixture
        own, other = torch.ones(len(image), device=image.device), torch.zeros(len(image), device=image.device)
        own[:even], other[:even] = shares.diagonal(), shares.flip(1).diagonal()
        partner = torch.arange(len(image), device=image.device)
        partner[:even] = partner[:even].flip(0)
        return own, other, partner


def _mix_dense(target, own, other, partner, total):
    own, other = own.unsqueeze(1), other.unsqueeze(1)
    known, unknown = (part * own + part[partner] * other for part in (target.clamp(min=0), (target < 0).float()))
    return _join(known, unknown, None if total is None else total.unsqueeze(1))


def _mix_sparse(target, own, other, partner, total):
    # how many answers two images have together, the device would have to be waited for: one of both has two places
    (row, column), values = target._indices(), target._values()
    parts = torch.stack([values.clamp(min=0), (values < 0).float()], dim=1)
    mixed = partner[row]  # a row's partner has the row for its own
    parts = torch.cat([parts * own[row].unsqueeze(1), parts * other[mixed].unsqueeze(1)])
    row, column = torch.cat([row, mixed]), column.repeat(2)
    key, order = (row * target.shape[1] + column).sort()
    place, parts = torch.stack([row, column])[:, order], parts[order]
    is_second = torch.cat([key.new_zeros(1), key[1:] == key[:-1]])[: len(key)].bool()
    parts = parts + (parts * is_second.unsqueeze(1)).roll(-1, 0)
    values = _join(*parts.unbind(1), None if total is None else total[place[0]])
    return torch.sparse_coo_tensor(place, values.masked_fill(is_second, 0), target.shape, check_invariants=False)


def _join(known, unknown, total):
    if total is not None:
        # rounding could lift the quotient above 1; nothing is learned of a mixture of weight 0
        known = (known / total).nan_to_num(0).clamp(max=1)
    return known.masked_fill(unknown > 0, -1.0)


def create_mixup(mixup: float, cutmix: float) -> MultiLabelMixup | None:
    """Returns the mixing of batches, None if both strengths are 0."""
    if mixup == 0 and cutmix == 0:
        return None
    return MultiLabelMixup(mixup, cutmix)
