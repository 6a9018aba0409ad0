"""Heads: what turns the features of a timm ViT into one logit a label.

A head is an nn.Module in the place of timm's classifier. It reads the pooled features (B, D) or, with `reads_tokens`,
all tokens (B, T, D) of the last block, of which the first `num_prefix_tokens` (class, distillation, register) are left
out. conf/head names the heads and holds their settings.
"""

from multihot.model.heads.csra import CSRA
from multihot.model.heads.decoders import MLDecoder, Query2Label
from multihot.model.heads.install import (
    can_factor_head,
    carry_rows,
    classifiers,
    classify_in_float32,
    factor_head,
    install_head,
    start_at_log_odds,
)
from multihot.model.heads.linear import FactoredLinear, Float32Linear, TwoLogit

__all__ = [
    "CSRA",
    "FactoredLinear",
    "Float32Linear",
    "MLDecoder",
    "Query2Label",
    "TwoLogit",
    "can_factor_head",
    "carry_rows",
    "classifiers",
    "classify_in_float32",
    "factor_head",
    "install_head",
    "start_at_log_odds",
]
