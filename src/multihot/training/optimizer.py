"""Parameter groups: no decay where it does harm, smaller rates for earlier layers."""

from collections.abc import Callable

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from multihot.errors import InputError
from multihot.model.features import HeadOnFeatures
from multihot.model.finetune import head_parameters


def create_optimizer(
    model: nn.Module,
    factory: Callable[..., torch.optim.Optimizer],
    lr: float,
    weight_decay: float,
    layer_decay: float | None,
    head_lr: float | None = None,
) -> torch.optim.Optimizer:
    """Returns factory(parameter groups, lr=lr).

    Biases, norms and what the model itself exempts (position embeddings, class token) do not decay. With `layer_decay`
    < 1 the rate shrinks by this factor from each block to the one before it (arxiv.org/abs/2106.08254); where timm does
    not know the blocks (PiT), from each dozen of parameters to the one before. The head has the rate `head_lr`, None
    for `lr`. Frozen parameters are left out.

    Must be given the timm model itself, before it is wrapped: inside another module timm cannot tell its layers.
    timm writes the factor into each group as `lr_scale`, which only timm's schedulers apply.
    """
    exempt = getattr(model, "no_weight_decay", set)()
    if layer_decay is None or isinstance(model, HeadOnFeatures):
        groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=exempt)
    else:
        groups = param_groups_layer_decay(model, weight_decay, no_weight_decay_list=exempt, layer_decay=layer_decay)
        check_rates(groups, model, layer_decay)
    if head_lr is not None:
        groups = with_head_rate(groups, model, head_lr / lr)
    return factory(groups, lr=lr)


def check_rates(groups: list[dict], model: nn.Module, layer_decay: float) -> None:
    """Raises InputError if a layer decay would leave all of the backbone at the rate of the head."""
    head = {id(parameter) for parameter in head_parameters(model)}
    scales = {group["lr_scale"] for group in groups if not head.issuperset(map(id, group["params"]))}
    if layer_decay != 1 and scales == {1.0}:
        raise InputError(
            f"optimizer.layer_decay={layer_decay} would do nothing: timm takes {type(model).__name__} for one layer. "
            "Leave it out"
        )


def with_head_rate(groups: list[dict], model: nn.Module, lr_scale: float) -> list[dict]:
    """Returns the groups with the parameters of the head in groups of their own, at `lr_scale`."""
    head = {id(parameter) for parameter in head_parameters(model)}
    result = []
    for group in groups:
        for is_head in (False, True):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in head) == is_head]
            if chosen:
                result.append({**group, "params": chosen} | ({"lr_scale": lr_scale} if is_head else {}))
    return result
