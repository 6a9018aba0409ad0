"""The weights that autocast rounds anew for each batch, kept as it rounds them: half the memory, the same logits."""

import torch
from torch import nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LAYERS = (nn.Linear, nn.Conv2d)  # not what is made of them: a head computes in float32, others may read their weights


def round_weights(model: nn.Module, mixed_precision: str) -> nn.Module:
    """Returns the model with those weights in its precision that autocast would cast to it, for prediction alone.

    Under autocast its logits are the same to the bit.

    Args:
        mixed_precision: no (nothing is rounded) | bf16 | fp16.
    """
    if mixed_precision in DTYPES:
        for module in model.modules():
            if type(module) in LAYERS:
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(DTYPES[mixed_precision])
    return model
