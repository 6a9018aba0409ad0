"""What is trained: everything, the head alone, the last blocks, or low-rank updates. Chosen before `prepare`."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from multihot.errors import InputError, list_first
from multihot.model.heads import classifiers
from multihot.model.probe import evaluating, example_image, find_used, parameters_behind
from multihot.model.start import Fit

log = logging.getLogger(__name__)

BACKBONE_DROPOUTS = ("drop_path_rate", "patch_drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate")


@dataclass(frozen=True)
class Full:
    """All weights."""

    trains_backbone = True

    def apply(self, model: nn.Module) -> None:
        """Leaves everything trainable."""


@dataclass(frozen=True)
class LpFt(Full):
    """All weights, after the head has been fitted (start=fit): arxiv.org/abs/2202.10054."""


@dataclass(frozen=True)
class Head:
    """The head alone, on features that the frozen backbone gives once."""

    num_views: int  # augmented ones of each training image; 0: the image as evaluation sees it
    trains_backbone = False

    def apply(self, model: nn.Module) -> None:
        """Freezes all but the head."""
        freeze_backbone(model)


@dataclass(frozen=True)
class LastBlocks:
    """The last transformer blocks and all that is behind them: norm, pooling, neck, head."""

    num_blocks: int
    trains_backbone = True

    def apply(self, model: nn.Module) -> None:
        """Freezes all but these."""
        blocks = self.find_blocks(model)
        behind = parameters_behind(model, blocks[0])
        if not behind:
            raise InputError(
                f"finetune=last_blocks: {type(model).__name__} does not call its blocks one after another, so that the "
                "last ones cannot be told: take finetune=full"
            )
        freeze_backbone(model)
        for parameter in behind:
            parameter.requires_grad_(True)

    def find_blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        """Returns the last blocks; raises InputError if there are not as many."""
        blocks = getattr(model, "blocks", None)
        if blocks is None or not 1 <= self.num_blocks <= len(blocks):
            depth = "no transformer blocks: take finetune=full" if blocks is None else f"{len(blocks)} blocks"
            raise InputError(f"finetune.num_blocks={self.num_blocks}: {type(model).__name__} has {depth}")
        return blocks[-self.num_blocks :]


@dataclass(frozen=True)
class Lora:
    """The head, and low-rank updates of linear layers (arxiv.org/abs/2106.09685) by peft, merged when saved."""

    rank: int
    alpha: float  # the update is scaled by alpha / rank
    dropout: float
    targets: Sequence[str]  # last names of linear layers
    trains_backbone = True

    def apply(self, model: nn.Module) -> None:
        """Puts the updates into the model itself and freezes all else but the head."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise InputError('finetune=lora needs peft: pip install -e ".[lora]"') from error
        layers, head = self.find_layers(model), head_parameters(model)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=layers)
        inject_adapter_in_model(config, model)
        for parameter in head:
            parameter.requires_grad_(True)
        check_lora_is_used(model)

    def find_layers(self, model: nn.Module) -> list[str]:
        """Returns the names of the layers that get an update, and says which of the blocks' linear layers get none."""
        names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        layers = [name for name in names if name.startswith("blocks.") and name.rpartition(".")[2] in self.targets]
        there, found = sorted(block_layers(model)), {name.rpartition(".")[2] for name in layers}
        place = f"finetune.targets={list(self.targets)}: {type(model).__name__}"
        if not there:
            raise InputError(
                f"finetune=lora: {type(model).__name__} has no `blocks` with linear layers: take finetune=full"
            )
        if not layers:
            raise InputError(f"{place} has no such linear layers; its blocks have {there}")
        missing, left_out = set(self.targets) - found, set(there) - found
        if missing:
            log.warning("%s has no %s; its blocks have %s", place, ", ".join(sorted(missing)), there)
        if left_out:
            log.warning("%s has more in its blocks, which stay as they are: %s", place, ", ".join(sorted(left_out)))
        return layers


def block_layers(model: nn.Module) -> set[str]:
    """Returns the last names of the linear layers of the transformer blocks."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return {name.rpartition(".")[2] for name in names if name.startswith("blocks.")}


def check_combination(
    finetune: object, start: object, is_mixed: bool, grad_checkpointing: bool, model: Mapping
) -> None:
    """Raises InputError for settings that would do nothing in a fine-tuning mode, or not what they say.

    Args:
        start: of the head, from conf/start.
        is_mixed: whether Mixup or CutMix is on.
        model: its settings, as conf/model has them.
    """
    if isinstance(finetune, LpFt) and not isinstance(start, Fit):
        raise InputError("finetune=lp_ft fits the head first, which another start than fit undoes: take finetune=full")
    if finetune.trains_backbone:
        return
    on_pictures = {
        "mix.mixup and mix.cutmix": is_mixed,
        "grad_checkpointing": grad_checkpointing,
        "model.train_image_size": model["train_image_size"],
        **{f"model.kwargs.{name}": model["kwargs"].get(name) for name in BACKBONE_DROPOUTS},
    }
    useless = [setting for setting, is_on in on_pictures.items() if is_on]
    if useless:
        raise InputError(
            f"finetune=head runs the backbone once and without training, so {', '.join(useless)} cannot act: take "
            "them away, or another finetune"
        )


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of the classifier, of all of them if there are several."""
    classifier = model.get_classifier()
    parts = [*classifier] if isinstance(classifier, tuple) else [classifier]
    if hasattr(model, "pretrained_cfg"):  # where timm knows of more: VOLO
        parts += classifiers(model).values()
    return list(dict.fromkeys(parameter for part in parts for parameter in part.parameters()))


def freeze_backbone(model: nn.Module) -> None:
    """Freezes all but the head."""
    model.requires_grad_(False)
    for parameter in head_parameters(model):
        parameter.requires_grad_(True)


def check_lora_is_used(model: nn.Module) -> None:
    """Raises InputError if an update would never learn because its layer's weight is read past the layer.

    EVA and BEiT do so with `qkv` where its biases are apart.
    """
    updates = {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name}
    with evaluating(model), torch.enable_grad():
        used = find_used([model(example_image(model))], list(updates.values()))
    unused = [name for name, parameter in updates.items() if parameter not in used]
    if unused:
        layers = sorted({name.partition(".lora_")[0].rpartition(".")[2] for name in unused})
        raise InputError(
            f"{type(model).__name__} reads the weights of {', '.join(layers)} without calling the layer, so that a "
            f"low-rank update of it would never learn: take it out of finetune.targets:\n{list_first(unused)}"
        )


def merge_lora(model: nn.Module) -> nn.Module:
    """Returns the model with its low-rank updates added into the weights, a copy.

    Without any it is the model itself, and where it is spread over processes (FSDP2): none has the weights to be added.
    """
    if isinstance(model, FSDPModule) or not any(".lora_" in name for name, _ in model.named_parameters()):
        return model
    from peft.tuners.lora import LoraLayer

    merged = copy.deepcopy(model)
    for name, layer in list(merged.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            merged.set_submodule(name, layer.get_base_layer())
    return merged


def checkpoint_gradients(model: nn.Module) -> None:
    """Lets the model compute its blocks again in the backward pass; raises InputError if timm's has no such thing."""
    try:
        model.set_grad_checkpointing()
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"grad_checkpointing=true: timm's {type(model).__name__} cannot do it. Leave it out; a smaller batch_size "
            "with accumulate_steps takes less memory too"
        ) from error


def count_parameters(model: nn.Module) -> str:
    """Returns how many parameters are trained, in words.

    >>> count_parameters(nn.Linear(3, 2).requires_grad_(False))
    'trained parameters: 0 of 8 (0.0%)'
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return f"trained parameters: {trained:,} of {total:,} ({trained / total:.1%})"
