"""A head with its loss over very many labels, in chunks, beside torch with all logits at once."""

from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timing import in_turn, peak_memory, process_seconds, restart_peak
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from multihot.labels import LabelSpace
from multihot.loss import AsymmetricLoss, BinaryCrossEntropy, FactoredLogits, FocalLoss, MultiLabelLoss
from multihot.loss.functions import ClosedForm

SIZE = (128, 384, 100_000)  # images, features, labels
NUM_PRESENT = 3  # labels of an image
SMOOTHING, POS_WEIGHT, SHARE = 0.1, 5.0, 0.7


class Case(NamedTuple):
    """A loss, and what is compared with it: of logits (B, C) and target (B, C)."""

    function: ClosedForm
    settings: dict
    peer: Callable[[Tensor, Tensor], Tensor]
    is_mixed: bool = False


def list_cases(num_labels: int) -> dict[str, Case]:
    """Returns what is measured, by its name."""
    entropy, pos_weight = F.binary_cross_entropy_with_logits, torch.full((num_labels,), POS_WEIGHT)
    asymmetric = AsymmetricLossMultiLabel()
    return {
        "BCE": Case(BinaryCrossEntropy(), {}, entropy),
        "BCE of mixed images": Case(BinaryCrossEntropy(), {}, entropy, is_mixed=True),
        "BCE with smoothing": Case(
            BinaryCrossEntropy(), {"smoothing": SMOOTHING},
            lambda logits, target: entropy(logits, target * (1 - SMOOTHING) + SMOOTHING / 2),
        ),
        "BCE with pos_weight": Case(
            BinaryCrossEntropy(), {"pos_weight": pos_weight},
            lambda logits, target: entropy(logits, target, pos_weight=pos_weight),
        ),
        "asymmetric": Case(
            AsymmetricLoss(), {"reduction": "batchmean"}, asymmetric
        ),
        "focal": Case(
            FocalLoss(), {}, lambda logits, target: sigmoid_focal_loss(logits, target, alpha=-1, reduction="mean")
        ),
    }  # fmt: skip


def measure_labels(num_rounds: int) -> None:
    """Prints how long losses and their gradients take in chunks and all at once, and the peaks of memory."""
    num_images, num_features, num_labels = SIZE
    generator = torch.Generator().manual_seed(0)
    shapes = (num_images, num_features), (num_labels, num_features), (num_labels,)
    factors = [(0.02 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    space = LabelSpace(tuple(map(str, range(num_labels))))
    print(f"head and loss of {num_images} images x {num_labels:,} labels ({num_features} features), processor seconds:")
    for name, case in list_cases(num_labels).items():
        target = (torch.rand(num_images, num_labels, generator=generator) < NUM_PRESENT / num_labels).float()
        target = SHARE * target + (1 - SHARE) * target.flip(0) if case.is_mixed else target
        loss, sparse = MultiLabelLoss(case.function, space, **case.settings), target.to_sparse()
        for dtype in (torch.float32, torch.bfloat16):

            def own(loss=loss, sparse=sparse) -> Tensor:
                return loss(FactoredLogits(*factors), sparse)

            def peer(case=case, target=target) -> Tensor:
                return case.peer(F.linear(*factors).float(), target)

            title = f"  {name}, {str(dtype).removeprefix('torch.')}"
            compare(title, factors, num_rounds, *(autocast(action, dtype) for action in (own, peer)))


def autocast(action: Callable[[], Tensor], dtype: torch.dtype) -> Callable[[], Tensor]:
    """Returns the action with its products in another precision."""
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)(action)


def compare(
    title: str, factors: list[Tensor], num_rounds: int, own: Callable[[], Tensor], peer: Callable[[], Tensor]
) -> None:
    """Prints the times of two losses with their gradients, and their peaks, and checks that they are the same."""
    torch.testing.assert_close(own().detach(), peer().detach(), rtol=0.02, atol=1e-6)
    actions = [lambda loss=loss: torch.autograd.grad(loss(), factors) for loss in (own, peer)]
    peaks = []
    for action in actions:
        before = restart_peak()
        action()
        peaks.append((peak_memory() - before) / 1e3)
    times = in_turn(num_rounds, *actions, clock=process_seconds)
    ratios = sorted(one / other for one, other in zip(*times, strict=True))
    print(
        f"{title}: {median(times[0]):.2f} s, {peaks[0]:.0f} MB; all at once {median(times[1]):.2f} s, {peaks[1]:.0f} "
        f"MB; seconds in chunks / all at once: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
