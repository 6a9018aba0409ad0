"""Has an image the same logits, to the last bit, whatever shares its batch.

How many rows are multiplied decides which kernel does it, and so how sums are rounded. In a ViT only the head
multiplies a row an image; every other layer has a row a token, enough for one kernel from the first image on.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from multihot.model.heads import classifiers

ROWS = 8  # from 4 on a CPU in one thread, from 8 in two, the sums are those of a batch of 32


def pad_rows(model: nn.Module) -> None:
    """Has the head of a timm model compute a multiple of ROWS images; what comes of those added is left out."""
    for layer in classifiers(model).values():
        layer.forward = partial(forward_padded, layer.forward)


def forward_padded(forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Returns the logits (B, C) of features (B, D) or tokens (B, T, D).

    >>> forward_padded(lambda features: features + len(features), torch.zeros(3, 1)).tolist()
    [[8.0], [8.0], [8.0]]
    """
    num_missing = -len(features) % ROWS
    if not num_missing:
        return forward(features)
    padding = features.new_zeros(num_missing, *features.shape[1:])
    return forward(torch.cat([features, padding]))[: len(features)]
