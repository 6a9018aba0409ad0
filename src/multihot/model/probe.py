"""What a model does with an example image: how a claim about a family of timm is checked before it is relied on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.models import get_model_input_config
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts the model into evaluation mode, and float32 to its full precision, for a while."""
    training, precision = model.training, torch.get_float32_matmul_precision()
    model.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        model.train(training)


def example_image(model: nn.Module) -> torch.Tensor:
    """Returns an image of noise (1, 3, H, W), always the same, of the size that the model takes, where the model is."""
    size = get_model_input_config(model)["input_size"]
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)


def logits_of_example(model: nn.Module) -> torch.Tensor:
    """Returns the logits (C,) of the example image."""
    with evaluating(model), torch.no_grad():
        return model(example_image(model))[0]


def parameters_behind(model: nn.Module, block: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters that are used behind the input of a block and not before it too.

    They are found by the gradients of the logits where the block's input is cut off; none, if the model does not call
    the block.
    """
    inputs = []

    def cut(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        inputs.extend(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
        return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, (args, kwargs))

    learned = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(True)
    handle = block.register_forward_pre_hook(cut, with_kwargs=True)
    try:
        with evaluating(model), torch.enable_grad():
            logits = model(example_image(model))
            if not inputs:
                return []
            behind = find_used([logits], list(learned))
            before = find_used([tensor for tensor in inputs if tensor.requires_grad], list(learned))
    finally:
        handle.remove()
        for parameter, is_learned in learned.items():
            parameter.requires_grad_(is_learned)
    return [parameter for parameter in learned if parameter in behind and parameter not in before]


def find_used(outputs: list[torch.Tensor], parameters: list[nn.Parameter]) -> set[nn.Parameter]:
    """Returns the parameters that outputs depend on."""
    if not outputs:
        return set()
    total = sum(output.float().sum() for output in outputs)
    gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    return {parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
