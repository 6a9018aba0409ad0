"""A model in two parts: the features that a frozen backbone gives, and the head on them."""

import copy
import hashlib

import torch
from torch import nn

from multihot.errors import InputError


class HeadOnFeatures(nn.Module):
    """The head of a timm model alone: features (B, D) or tokens (B, T, D) -> logits (B, C).

    It shares its weights with the model, and its parameters have the same names.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        if not hasattr(model, "head_drop"):
            raise InputError(f"the head of {type(model).__name__} cannot be trained alone: take a ViT or finetune=full")
        self.num_classes = model.num_classes
        self.head_drop = model.head_drop
        self.head = model.head
        self.head_dist = model.head_dist if has_two_classifiers(model) else None

    def get_classifier(self) -> "HeadOnFeatures":
        """Returns what timm's models give under this name; here it is all there is."""
        return self

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, C)."""
        features = self.head_drop(features)
        if self.head_dist is not None:
            return (self.head(features[:, 0]) + self.head_dist(features[:, 1])) / 2
        return self.head(features)


def read_features(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Returns what the head of the model reads: pooled features (B, D), or tokens (B, T, D) if it pools itself.

    The two heads of a distilled DeiT read one token each, (B, 2, D).
    """
    tokens = model.forward_features(image)
    return tokens[:, :2] if has_two_classifiers(model) else model.forward_head(tokens, pre_logits=True)


def has_two_classifiers(model: nn.Module) -> bool:
    """Returns whether the model averages the classifiers of two tokens (a distilled DeiT)."""
    return isinstance(model.get_classifier(), tuple)


def hash_backbone(model: nn.Module) -> str:
    """Returns a hash of all weights but those of the head."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if not name.startswith(("head.", "head_dist.")):
            digest.update(name.encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def complete_model(model: nn.Module, head: nn.Module) -> nn.Module:
    """Returns a copy of the timm model with the weights of a `HeadOnFeatures` in the place of its own."""
    complete = copy.deepcopy(model)
    complete.load_state_dict({**model.state_dict(), **head.state_dict()})
    return complete
