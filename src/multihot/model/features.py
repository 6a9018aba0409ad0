"""A model in two parts: the features that a frozen backbone gives, and the head on them."""

import copy
import hashlib

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.pit import PoolingVisionTransformer
from torch import nn

from multihot.errors import InputError
from multihot.model.architecture import BUILD_ERRORS
from multihot.model.probe import evaluating

DISTILLED = (VisionTransformerDistilled, PoolingVisionTransformer)
TOLERANCE = 1e-4  # of the largest logit; what a model adds to its head's logits is of their own size


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
    """Returns whether the model averages the classifiers of two tokens: a distilled DeiT or PiT.

    Other distilled models (LeViT) have two on the same features.
    """
    return isinstance(model, DISTILLED) and isinstance(model.get_classifier(), tuple)


def pool(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Returns features as they are if they are pooled (B, D), else the mean over the patches of tokens (B, T, D)."""
    if features.ndim == 2:
        return features
    num_prefix_tokens = 0 if has_two_classifiers(model) else model.num_prefix_tokens
    return features[:, num_prefix_tokens:].mean(dim=1)


def check_head_alone(model: nn.Module, image: torch.Tensor) -> None:
    """Raises InputError unless the head gives, on features of images (B, 3, H, W), what the model gives of them."""
    alone = HeadOnFeatures(model)
    place = f"the head of {type(model).__name__} cannot be trained alone"
    try:
        with evaluating(model), torch.no_grad():
            logits, on_features = model(image), alone.eval()(read_features(model, image))
    except BUILD_ERRORS as error:
        raise InputError(f"{place}, as it reads more than pooled features: take finetune=full") from error
    difference = (logits - on_features).abs().max() if logits.shape == on_features.shape else torch.tensor(torch.inf)
    if not difference <= TOLERANCE * logits.abs().max():
        raise InputError(
            f"{place}: its logits are off those of the model by up to {difference:.2g} where these are up to "
            f"{logits.abs().max():.2g}, as the model adds something to them. Take finetune=full"
        )


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
