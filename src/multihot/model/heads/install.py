"""A head takes the place of the softmax classifier, and gets its first weights."""

from functools import partial

import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from multihot.errors import InputError
from multihot.model.heads.linear import FactoredLinear, Float32Linear, set_constant, set_row
from multihot.model.probe import logits_of_example

TOKEN_MODELS = (VisionTransformer, Eva, Beit, VisionTransformerRelPos)  # ViT, DeiT, DINOv2, SigLIP; EVA, DINOv3; BEiT


class SingleHeadDeiT(VisionTransformerDistilled):
    """A distilled DeiT with one head on all tokens instead of two classifiers on two of them."""

    forward_head = VisionTransformer.forward_head
    get_classifier = VisionTransformer.get_classifier

    def pool(self, tokens: Tensor, pool_type: str | None = None) -> Tensor:
        """Returns the tokens; `global_pool` stays "token", as timm builds no distilled DeiT with another."""
        return tokens


def install_head(model: nn.Module, head: partial | None, num_labels: int) -> None:
    """Replaces the classifier of a timm model by a head for `num_labels` logits.

    Without a head it is timm's own: any model can have it, and plain timm can load it. A distilled DeiT keeps two
    classifiers under heads on pooled features, as timm has it, and gets one under heads on tokens.

    Args:
        model: a timm model, with or without a classifier.
        head: a partial of a head class, e.g. instantiated from conf/head; None for timm's own classifier.
        num_labels: logits of the model from now on.

    Raises:
        InputError: the model has no tokens or no linear classifier, but the head needs them.
    """
    model.reset_classifier(num_labels)
    if head is None:
        classify_in_float32(model)
    elif head.func.reads_tokens:
        install_token_head(model, head, num_labels)
    else:
        for name, layer in linear_classifiers(model).items():
            model.set_submodule(name, head(layer.in_features, num_labels).train(model.training))


def classify_in_float32(model: nn.Module) -> None:
    """Makes the linear classifiers of a model Float32Linear, with the parameters they have."""
    for layer in classifiers(model).values():
        if type(layer) is nn.Linear:
            layer.__class__ = Float32Linear


def install_token_head(model: nn.Module, head: partial, num_labels: int) -> None:
    """Turns pooling off and puts a head that reads tokens in the place of `model.head`."""
    if not isinstance(model, TOKEN_MODELS):
        raise InputError(
            f"{head.func.__name__} reads the tokens of a plain ViT, and {type(model).__name__} is none: "
            "take head=linear or head=two_logit"
        )
    if isinstance(model, VisionTransformerDistilled):
        model.__class__ = SingleHeadDeiT  # unlike a method bound to the model, a class survives copying and pickling
        model.pretrained_cfg = {**model.pretrained_cfg, "classifier": "head"}
    model.reset_classifier(0, global_pool="")
    model.num_classes = num_labels
    model.head = head(model.num_features, num_labels, model.num_prefix_tokens).train(model.training)


def can_factor_head(model: nn.Module) -> bool:
    """Returns whether a model has one head, and it can hand out FactoredLogits."""
    layers = list(classifiers(model).values())
    return len(layers) == 1 and (isinstance(layers[0], nn.Linear) or hasattr(layers[0], "factor"))


def factor_head(model: nn.Module) -> None:
    """Lets a model's one head hand out FactoredLogits in training; a linear one becomes a FactoredLinear."""
    layers = list(classifiers(model).values())
    if not can_factor_head(model):
        names = ", ".join(type(layer).__name__ for layer in layers)
        raise InputError(f"{type(model).__name__} has the head {names}, whose logits have no factors for the loss")
    if isinstance(layers[0], nn.Linear):
        layers[0].__class__ = FactoredLinear  # so that optimizers and hooks keep their parameters
    else:
        layers[0].factor()


def classifiers(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the head of a model by name; distilled models may have several.

    timm names some that only other variants of a model have (RepViT).
    """
    names, modules = model.pretrained_cfg.get("classifier") or (), dict(model.named_modules())
    return {name: modules[name] for name in ([names] if isinstance(names, str) else names) if name in modules}


def linear_classifiers(model: nn.Module) -> dict[str, nn.Linear]:
    """Returns `classifiers`, which must be linear layers."""
    layers = classifiers(model)
    for name, layer in layers.items():
        if not isinstance(layer, nn.Linear):
            raise InputError(f"{type(model).__name__}.{name} is no linear layer but {type(layer).__name__}")
    return layers


def start_at_log_odds(model: nn.Module, log_odds: Tensor) -> None:
    """Makes `log_odds` (C,) the logits of every image: classifier weights of zero, and biases that give them.

    Where a model adds its classifiers up to more than their mean (VOLO, one and a half times), the biases are smaller.

    Raises:
        InputError: the model gives an example image other logits nevertheless.
    """
    set_constants(model, log_odds)
    if is_close(logits_of_example(model), log_odds):
        return
    set_constants(model, torch.ones_like(log_odds))
    set_constants(model, log_odds / logits_of_example(model).to(log_odds.device))
    if not is_close(logits_of_example(model), log_odds):
        raise InputError(
            f"the logits of {type(model).__name__} do not follow from the biases of {', '.join(classifiers(model))} "
            "alone, so that no label can start at its frequency: take start=random"
        )


def is_close(logits: Tensor, wanted: Tensor) -> bool:
    """Returns whether two vectors of logits are equal up to rounding."""
    return torch.allclose(logits.float().cpu(), wanted.float().cpu(), rtol=1e-4, atol=1e-5)


def set_constants(model: nn.Module, log_odds: Tensor) -> None:
    """Makes `log_odds` (C,) what each classifier gives for any features."""
    for name, layer in classifiers(model).items():
        if isinstance(layer, nn.Linear):
            set_constant(layer, log_odds)
        elif hasattr(layer, "start_at_log_odds"):
            layer.start_at_log_odds(log_odds)
        else:
            raise InputError(f"{type(model).__name__}.{name} is not linear: take start=random")


def carry_rows(model: nn.Module, rows: dict[int, tuple[Tensor, float]]) -> None:
    """Sets labels, by column, to weights (D,) and biases of another classifier.

    A label's logit becomes weights . pooled features + bias; with CSRA approximately, see there.

    Raises:
        InputError: the logits of the head are no product of weights and pooled features.
    """
    for layer in classifiers(model).values():
        if not (isinstance(layer, nn.Linear) or hasattr(layer, "carry_row")):
            raise InputError(
                f"labels cannot be carried over into {type(layer).__name__}: its logits are no product of a row of "
                "weights and pooled features. Take head=linear, two_logit or csra; or finetune=full start=prior"
            )
        for label, (weight, bias) in rows.items():
            if isinstance(layer, nn.Linear):
                set_row(layer, label, weight, bias)
            else:
                layer.carry_row(label, weight, bias)
