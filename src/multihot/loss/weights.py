"""Weights of labels, given or from how often each is present."""

from collections.abc import Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from multihot.errors import InputError, check_choice


def read_weight(name: str, weight: float | Sequence[float] | Tensor | None, num_labels: int) -> Tensor | None:
    """Returns the weights (C,) that a number or a list of C numbers means, None for None.

    >>> read_weight("weight", 2, num_labels=3)
    tensor([2., 2., 2.])
    """
    if weight is None:
        return None
    values = torch.as_tensor(weight if isinstance(weight, Real | Tensor) else list(weight), dtype=torch.float32)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != num_labels):
        raise InputError(f"loss.{name} needs one number or one a label: {num_labels}, not {len(values)}")
    is_wrong = ~((values >= 0) & values.isfinite())
    if is_wrong.any():
        raise InputError(f"loss.{name} has {values[is_wrong].flatten()[0]:g}: expected finite numbers from 0 up")
    if not values.any():
        raise InputError(f"loss.{name} is 0 for every label, which leaves nothing to learn: null takes all as they are")
    return values.expand(num_labels).clone()


def read_pos_weight(
    pos_weight: float | Sequence[float] | Tensor | Mapping | None, label_count: Tensor, num_trained: Tensor
) -> Tensor | None:
    """Returns the pos_weight (C,) that a number, a list, or `{power: p, max: m}` means, None for None."""
    if not isinstance(pos_weight, Mapping):
        return read_weight("pos_weight", pos_weight, len(label_count))
    for key in pos_weight:
        check_choice("a setting of loss.pos_weight", key, ("power", "max"))
    if "power" not in pos_weight:
        raise InputError("loss.pos_weight: expected a number, a list of one a label, or {power: 0.5, max: 10}")
    power, largest = pos_weight["power"], pos_weight.get("max")
    for key, value in (("power", power), ("max", largest)):
        if not (isinstance(value, Real) and value >= 0) and (key, value) != ("max", None):
            raise InputError(
                f"loss.pos_weight.{key}={value}: expected a number from 0 up" + " or null" * (key == "max")
            )
    return balance(label_count, num_trained, power, largest)


def balance(label_count: Tensor, num_trained: Tensor, power: float, largest: float | None) -> Tensor:
    """Returns (num_negative / num_positive)^power (C,), at most `largest`: power 1 makes both sides weigh the same.

    Negatives are the answers that the loss is given (`UnknownStrategy.num_trained`) and are not positive. A count of 0
    is taken for 1, and a label without positives gets `largest` if there is one.

    >>> balance(torch.tensor([1, 5, 0]), torch.tensor([10, 10, 10]), power=1, largest=20).tolist()
    [9.0, 1.0, 20.0]
    """
    num_negative = (num_trained - label_count).clamp(min=1)
    weight = (num_negative / label_count.clamp(min=1)).pow(power)
    if largest is None:
        return weight
    return torch.where(label_count == 0, largest, weight.clamp(max=largest))


def mean_scale(pos_weight: Tensor, label_count: Tensor, num_trained: Tensor) -> float:
    """Returns the mean over labels of f pos_weight + 1 - f, f = frequency: by how much pos_weight raises the loss.

    The loss is divided by it, as a larger loss would be a larger learning rate by another name.

    >>> mean_scale(torch.tensor([3.0]), label_count=torch.tensor([50]), num_trained=torch.tensor([100]))
    2.0
    """
    frequency = label_count / num_trained.clamp(min=1)
    return (frequency * pos_weight + 1 - frequency).mean().item()
