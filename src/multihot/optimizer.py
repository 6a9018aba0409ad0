"""Parameter groups: no decay where it does harm, smaller rates for earlier layers."""

from collections.abc import Callable

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn


def create_optimizer(
    model: nn.Module,
    factory: Callable[..., torch.optim.Optimizer],
    lr: float,
    weight_decay: float,
    layer_decay: float | None,
) -> torch.optim.Optimizer:
    """Returns factory(parameter groups, lr=lr).

    Biases, norms and what the model itself exempts (position embeddings, class token) do not decay. With `layer_decay`
    < 1 the rate shrinks by this factor from each block to the one before it (arxiv.org/abs/2106.08254).

    Must be given the timm model itself, before it is wrapped: inside another module timm cannot tell its layers.
    timm writes the factor into each group as `lr_scale`, which only timm's schedulers apply.
    """
    exempt = getattr(model, "no_weight_decay", set)()
    if layer_decay is None:
        groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=exempt)
    else:
        groups = param_groups_layer_decay(model, weight_decay, no_weight_decay_list=exempt, layer_decay=layer_decay)
    return factory(groups, lr=lr)
