"""Class-specific residual attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multihot.errors import InputError
from multihot.loss import FactoredLogits
from multihot.loss.functions import at_least_float32
from multihot.model.heads.linear import Float32Linear

MAX = 99  # the temperature that stands for max pooling, its limit
TEMPERATURES = {1: (1,), 2: (1, MAX), 4: (1, 2, 4, MAX), 6: (1, 2, 3, 4, 5, MAX), 8: (1, 2, 3, 4, 5, 6, 7, MAX)}


class CSRA(nn.Module):
    """Class-specific residual attention (arxiv.org/abs/2108.02456): each label has its own pooling of the tokens.

    With the scores s = w . token of a label, its logit is the sum over heads of

        mean(s) + attention_weight * sum(softmax(temperature * s) * s)        (softmax, sum and mean over tokens)

    and one bias. With `attention_weight` 0 and one head it is a linear classifier on the mean token. The scores of all
    tokens are kept for the backward pass, unless the loss goes through the labels in chunks: for thousands of labels
    MLDecoder computes less.

    The paper's code divides w by its norm, for a faster start and without effect on the final score by its Table 8
    (github.com/Kevinz-code/CSRA/issues/9). Not done here: w = 0, the prior start, has no direction.
    """

    reads_tokens = True

    def __init__(
        self, num_features: int, num_labels: int, num_prefix_tokens: int, *, num_heads: int, attention_weight: float
    ):
        super().__init__()
        if num_heads not in TEMPERATURES:
            raise InputError(f"head.layer.num_heads={num_heads}: choose from {', '.join(map(str, TEMPERATURES))}")
        self.num_prefix_tokens = num_prefix_tokens
        self.temperatures = TEMPERATURES[num_heads]
        self.attention_weight = attention_weight
        self.classifier = Float32Linear(num_features, num_heads * num_labels, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_labels))
        self.is_factored = False

    def forward(self, tokens: Tensor) -> Tensor | FactoredLogits:
        """Returns the logits (B, C) of the tokens (B, T, D), or their factors, in training after `factor`."""
        tokens = tokens[:, self.num_prefix_tokens :]
        if self.is_factored and self.training and torch.is_grad_enabled():
            weight = self.classifier.weight.unflatten(0, (len(self.temperatures), -1)).transpose(0, 1)
            return FactoredLogits(tokens, weight, self.bias, self.score)
        scores = self.classifier(tokens)
        return self.pool(scores.unflatten(-1, (len(self.temperatures), -1)).unbind(-2), self.bias)

    def score(self, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Returns the logits (B, c) of some labels: tokens (B, T, D), weight (c, heads, D), bias (c,)."""
        return self.pool([at_least_float32(nn.functional.linear(tokens, rows)) for rows in weight.unbind(1)], bias)

    def pool(self, heads: Sequence[Tensor], bias: Tensor) -> Tensor:
        """Returns the logits (B, c) of the scores (B, T, c) of each head."""
        attended = [attend(score, temperature) for score, temperature in zip(heads, self.temperatures, strict=True)]
        return sum(heads).mean(1) + self.attention_weight * sum(attended) + bias

    def factor(self) -> None:
        """Lets the head hand out FactoredLogits in training."""
        self.is_factored = True

    def start_at_log_odds(self, log_odds: Tensor) -> None:
        """Makes `log_odds` (C,) the logits of every image."""
        with torch.no_grad():
            self.classifier.weight.zero_()
            self.bias.copy_(log_odds)

    def carry_row(self, label: int, weight: Tensor, bias: float) -> None:
        """Makes the label's logit `weight` (D,) . features + `bias`, with a mean of the tokens as features.

        The mean is plain and attention-weighted in parts 1 : attention_weight, so the logit is that of plain mean
        pooling only if all tokens score alike, and else above it.
        """
        num_heads = len(self.temperatures)
        with torch.no_grad():
            rows = self.classifier.weight.unflatten(0, (num_heads, -1))
            rows[:, label] = weight / (num_heads * (1 + self.attention_weight))
            self.bias[label] = bias


def attend(score: Tensor, temperature: float) -> Tensor:
    """Returns the mean (B, C) of a score (B, T, C) over tokens, weighted by its own softmax; MAX takes the largest."""
    if temperature == MAX:
        return score.amax(1)
    return ((temperature * score).softmax(1) * score).sum(1)
