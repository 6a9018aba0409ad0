"""The label space: which labels are independent, which exclude each other, and what turns logits into decisions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from multihot.errors import InputError, check_choice, list_first

LABEL_WIDTH = 40  # characters of a label on a screen


class Activation(NamedTuple):
    """The scale on which an independent label is decided."""

    function: Callable[[Tensor], Tensor]
    threshold: float  # what log-odds of 0 are on it
    lowest: float
    highest: float


ACTIVATIONS = {
    "sigmoid": Activation(torch.sigmoid, 0.5, 0, 1),
    "tanh": Activation(torch.tanh, 0.0, -1, 1),
    "identity": Activation(lambda logits: logits, 0.0, -math.inf, math.inf),
}


@dataclass(frozen=True)
class Group:
    """Labels of which an image has exactly one, or, with `none`, at most one."""

    name: str
    labels: tuple[str, ...]
    none: bool = False


@dataclass(frozen=True)
class LabelSpace:
    """C labels in the order of every (.., C) tensor; those in no group are independent.

    A group is a softmax over its logits; its "none" is one more logit that is always 0, so that a model has C outputs
    with or without it.
    """

    labels: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    activation: str = field(default="sigmoid", kw_only=True)

    def __post_init__(self):
        check_activation(self.activation)
        check_groups(self.groups, self.labels)

    @cached_property
    def columns(self) -> list[list[int]]:
        """The columns of each group."""
        place = {label: column for column, label in enumerate(self.labels)}
        return [[place[label] for label in group.labels] for group in self.groups]

    @cached_property
    def independent(self) -> list[int]:
        """The columns of the labels in no group."""
        grouped = {column for columns in self.columns for column in columns}
        return [column for column in range(len(self.labels)) if column not in grouped]

    def log_odds(self, logits: Tensor, labels: slice = slice(None)) -> Tensor:
        """Returns the log-odds (N, C) of each label's probability: sigmoid(log_odds) is the probability.

        Of an independent label they are its logit; inside a group logit j less the log-sum-exp of the others, so that
        the sigmoid is the softmax: e^a / (e^a + sum e^b) = sigmoid(a - log sum e^b).

        Args:
            labels: those that are wanted, of logits (N, C) of all.

        >>> space = LabelSpace(("red", "green"), (Group("colour", ("red", "green")),))
        >>> logits = torch.tensor([[1.0, 3.0]])
        >>> torch.allclose(torch.sigmoid(space.log_odds(logits)), logits.softmax(dim=1))
        True
        """
        if not self.groups:
            return logits[:, labels]
        result, place = logits[:, labels].clone(), {label: k for k, label in enumerate(range(len(self.labels))[labels])}
        for group, columns in zip(self.groups, self.columns, strict=True):
            wanted = [member for member, column in enumerate(columns) if column in place]
            if wanted:
                inside = with_none(logits[:, columns], group.none)
                log_odds = inside - log_sum_exp_of_others(inside)
                result[:, [place[columns[member]] for member in wanted]] = log_odds[:, wanted]
        return result

    def probability(self, logits: Tensor) -> Tensor:
        """Returns each label's probability (N, C): a sigmoid, or inside a group the softmax."""
        return torch.sigmoid(self.log_odds(logits))

    def decide(self, logits: Tensor, threshold: float | Sequence[float] | Tensor | None = None) -> Tensor:
        """Returns which labels are predicted, bool (N, C).

        An independent label is, where its activation is above the threshold (one, or one a label; None: the
        activation's own). Of a group the label with the largest logit is, or none if that is largest (logit 0).

        >>> LabelSpace(("cat", "dog")).decide(torch.tensor([[0.1, -0.1]])).tolist()
        [[True, False]]
        """
        activation = ACTIVATIONS[self.activation]
        threshold = activation.threshold if threshold is None else threshold
        decision = activation.function(logits) > torch.as_tensor(threshold, dtype=logits.dtype, device=logits.device)
        for group, columns in zip(self.groups, self.columns, strict=True):
            winner = with_none(logits[:, columns], group.none).argmax(dim=1, keepdim=True)
            decision[:, columns] = winner == torch.arange(len(columns), device=logits.device)
        return decision

    @classmethod
    def single_label(cls, labels: Sequence[str]) -> "LabelSpace":
        """Returns the space in which an image has exactly one of all labels."""
        return cls(tuple(labels), (Group("label", tuple(labels)),))

    @property
    def is_single_label(self) -> bool:
        """Whether all labels exclude each other and one is always there."""
        return len(self.groups) == 1 and not self.independent and not self.groups[0].none

    def to_config(self) -> dict:
        """Returns what `from_config` needs, as plain lists and dicts."""
        groups = {group.name: {"labels": list(group.labels), "none": group.none} for group in self.groups}
        return {"labels": list(self.labels), "groups": groups, "activation": self.activation}

    @classmethod
    def from_config(cls, config: Mapping) -> "LabelSpace":
        """Returns the space that `to_config` has written."""
        return cls(tuple(config["labels"]), read_groups(config["groups"]), activation=config["activation"])


def show_label(label: str) -> str:
    """Returns a label for one line of a screen or a caption: what cannot be printed escaped, a long one cut.

    >>> show_label("new\\nline"), show_label("a" * 50) == "a" * 37 + "..."
    ('new\\\\nline', True)
    """
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in label)
    return text if len(text) <= LABEL_WIDTH else f"{text[: LABEL_WIDTH - 3]}..."


def with_none(logits: Tensor, none: bool) -> Tensor:
    """Returns the logits (N, K) of a group, those with "none" as its last column of zeros (N, K + 1)."""
    return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1) if none else logits


def log_sum_exp_of_others(logits: Tensor) -> Tensor:
    """Returns for each logit (N, K) the log-sum-exp of the others in its row, without a tensor of N x K x K.

    It is log(sum of all - e^logit), which loses all digits where one logit outweighs the rest: there that is summed.
    """
    largest, place = logits.max(dim=1, keepdim=True)
    rest = logits.scatter(1, place, -torch.inf).logsumexp(dim=1, keepdim=True)
    total = torch.logaddexp(largest, rest)
    is_largest = logits == largest  # all of several, so that equal logits stay equal
    share = (logits - total).exp().masked_fill(is_largest, 0)  # of the sum; at most a half
    return torch.where(is_largest, rest, total + torch.log1p(-share))


def read_groups(groups: Mapping | None) -> tuple[Group, ...]:
    """Returns groups from a config: `{colour: [red, green], size: {labels: [big, small], none: true}}`.

    Raises:
        InputError: it is not of that form.

    >>> read_groups({"colour": ["red", "green"]})
    (Group(name='colour', labels=('red', 'green'), none=False),)
    """
    if not isinstance(groups or {}, Mapping):
        raise InputError(f"data.groups={groups}: expected {{name: [label, label]}}")
    result = []
    for name, group in (groups or {}).items():
        settings = group if isinstance(group, Mapping) else {"labels": group}
        for key in settings:
            check_choice(f"a setting of the group {name}", key, ("labels", "none"))
        labels = settings.get("labels")
        if isinstance(labels, str) or not isinstance(labels, Sequence):
            raise InputError(f"data.groups.{name}={group}: expected a list of labels, or {{labels: [...], none: true}}")
        labels = tuple(str(label) for label in labels)
        result.append(Group(str(name), labels, bool(settings.get("none", False))))
    return tuple(result)


def check_activation(activation: str) -> None:
    """Raises InputError unless the activation treats each label for itself."""
    if activation == "softmax":
        raise InputError(
            "activation=softmax makes the labels of an image share one probability, so that no two can be likely at "
            "once; labels that exclude each other belong in a group (data.groups), all others take activation=sigmoid"
        )
    check_choice("activation", activation, tuple(ACTIVATIONS))


def check_groups(groups: Sequence[Group], labels: Sequence[str]) -> None:
    """Raises InputError unless the groups have at least two labels (one with none), known and in one group only."""
    known, taken = set(labels), {}
    for group in groups:
        unknown = [label for label in group.labels if label not in known]
        if unknown:
            raise InputError(
                f"the group {group.name} (data.groups) must spell labels as the data does; it has labels that the data "
                f"has not:\n{list_first(unknown)}"
            )
        if len(group.labels) + group.none < 2:
            raise InputError(
                f"the group {group.name} has nothing to choose from: it needs two labels, or one and none: true"
            )
        for label in group.labels:
            if label in taken:
                raise InputError(
                    f"the label {label!r} is in two places: groups {taken[label]} and {group.name}; leave it in one"
                )
            taken[label] = group.name
