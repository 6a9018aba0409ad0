"""Heads of label queries that look at the tokens through cross-attention."""

import torch
from torch import Tensor, nn

from multihot.errors import InputError
from multihot.model.heads.linear import without_autocast


class MLDecoder(nn.Module):
    """ML-Decoder (arxiv.org/abs/2111.12933): fixed queries, cross-attention only, and labels that share queries.

    Each of K group queries ends in a linear layer of its own for G = ceil(C / K) labels in a row, so that the cost of
    attention does not grow with the labels. With `num_groups` >= C each label has a query.
    """

    reads_tokens = True

    def __init__(
        self,
        num_features: int,
        num_labels: int,
        num_prefix_tokens: int,
        *,
        num_groups: int,
        decoder_width: int | None,
        num_heads: int,
        feedforward_width: int,
        dropout: float,
    ):
        super().__init__()
        width = choose_width(decoder_width, num_features, num_heads)
        num_groups = min(num_groups, num_labels)
        group_size = -(-num_labels // num_groups)
        self.num_prefix_tokens = num_prefix_tokens
        self.embed = nn.Sequential(nn.Linear(num_features, width), nn.ReLU())
        self.register_buffer("queries", torch.randn(num_groups, width))  # not learned
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward_width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_width, width),
            nn.Dropout(dropout),
        )
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.weight = nn.Parameter(torch.empty(num_groups, width, group_size))
        self.bias = nn.Parameter(torch.zeros(num_labels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the logits (B, C) of the tokens (B, T, D)."""
        tokens = self.embed(tokens[:, self.num_prefix_tokens :])
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        queries = self.norm1(queries + self.dropout(queries))  # where a decoder layer has self-attention
        attended, _ = self.attention(queries, tokens, tokens, need_weights=False)
        queries = self.norm2(queries + self.dropout(attended))
        queries = self.norm3(queries + self.feedforward(queries))
        with without_autocast(queries.device):  # for distinct logits, see Float32Linear
            logits = torch.einsum("bkd,kdg->bkg", queries.float(), self.weight).flatten(1)
        return logits[:, : len(self.bias)] + self.bias  # the last groups may be short of labels

    def start_at_log_odds(self, log_odds: Tensor) -> None:
        """Makes `log_odds` (C,) the logits of every image."""
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_(log_odds)


class Query2Label(nn.Module):
    """Query2Label (arxiv.org/abs/2107.10834): a learned query a label, through self- and cross-attention.

    Self-attention between the labels costs O(C^2); for thousands of labels take MLDecoder. The tokens of a ViT know
    their place, so no position is added to them.
    """

    reads_tokens = True

    def __init__(
        self,
        num_features: int,
        num_labels: int,
        num_prefix_tokens: int,
        *,
        num_layers: int,
        decoder_width: int | None,
        num_heads: int,
        feedforward_width: int,
        dropout: float,
    ):
        super().__init__()
        width = choose_width(decoder_width, num_features, num_heads)
        self.num_prefix_tokens = num_prefix_tokens
        self.embed = nn.Linear(num_features, width)
        self.queries = nn.Parameter(torch.randn(num_labels, width))
        layer = nn.TransformerDecoderLayer(width, num_heads, feedforward_width, dropout, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, num_layers)
        self.weight = nn.Parameter(torch.empty(num_labels, width))
        self.bias = nn.Parameter(torch.zeros(num_labels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the logits (B, C) of the tokens (B, T, D)."""
        tokens = self.embed(tokens[:, self.num_prefix_tokens :])
        decoded = self.decoder(self.queries.expand(tokens.shape[0], -1, -1), tokens)
        return (decoded.float() * self.weight).sum(-1) + self.bias

    def start_at_log_odds(self, log_odds: Tensor) -> None:
        """Makes `log_odds` (C,) the logits of every image."""
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_(log_odds)


def choose_width(decoder_width: int | None, num_features: int, num_heads: int) -> int:
    """Returns the width of the decoder, by default that of the tokens; its attention heads must divide it."""
    width = decoder_width or num_features
    if width % num_heads:
        raise InputError(
            f"head.layer.num_heads={num_heads} does not divide the decoder's width {width}: change it or "
            "head.layer.decoder_width"
        )
    return width
