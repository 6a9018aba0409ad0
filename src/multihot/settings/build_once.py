"""Builds once, without data and weights, what the settings ask for: those that do not go together are found early."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from timm.data import resolve_data_config

from multihot.data.loader import build_steps
from multihot.errors import InputError
from multihot.known_classes import check_targets, create
from multihot.labels import LabelSpace, check_activation
from multihot.loss import check_loss, create_loss
from multihot.metrics.checks import check_threshold
from multihot.model.architecture import BUILD_ERRORS
from multihot.model.create import create_model
from multihot.model.finetune import LastBlocks, Lora, check_combination, checkpoint_gradients
from multihot.model.heads import install_head
from multihot.settings.saved import to_plain

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin", "shipped:vit_digits")  # they say nothing of how a model is made
IMAGE = {"input_size": (3, 32, 32)}  # that augmentation is built for


def find_misfits(cfg: DictConfig) -> list[str]:
    """Returns what keeps a training of these settings from being built, but for what hangs on data or weights."""
    faults = []
    with collecting(faults, "a class"):
        check_targets(cfg)
    with collecting(faults, "activation"):
        check_activation(cfg.activation)
    if faults:
        return faults
    with collecting(faults, "threshold"):
        check_decisions(cfg)
    with collecting(faults, "loss"):
        try_loss(cfg)
    with collecting(faults, "optimizer or schedule"):
        optimizer = create("optimizer.factory", cfg.optimizer.factory)(
            [torch.nn.Parameter(torch.zeros(1))], lr=cfg.optimizer.lr
        )
        create("schedule.factory", cfg.schedule.factory)(
            optimizer, t_initial=2, warmup_t=0, t_in_epochs=False
        ).step_update(0)
    with collecting(faults, "schedule"):
        check_rates(cfg)
    with collecting(faults, "augment"):
        build_steps(create("augment", cfg.augment).keywords, resolve_data_config({}, pretrained_cfg=IMAGE))
    with collecting(faults, "start or finetune"):
        is_mixed = cfg.mix.mixup > 0 or cfg.mix.cutmix > 0
        finetune, start = create("finetune", cfg.finetune), create("start", cfg.start)
        check_combination(finetune, start, is_mixed, cfg.grad_checkpointing, cfg.model)
    with collecting(faults, "model, head or finetune"):
        try_model(cfg)
    return faults


@contextmanager
def collecting(faults: list[str], part: str) -> Iterator[None]:
    """Adds what is wrong to the faults, in our words or, with the settings' name, in those of the library."""
    try:
        yield
    except InputError as error:
        faults.append(str(error))
    except InstantiationException as error:
        cause = error.__cause__
        faults.append(str(cause) if isinstance(cause, InputError) else f"{part} cannot be built: {error}")
    except BUILD_ERRORS as error:
        faults.append(f"{part} cannot be built with these settings: {type(error).__name__}: {error}")


def check_rates(cfg: DictConfig) -> None:
    """Raises InputError if the rate would end above where it is to fall from."""
    lowest = cfg.schedule.factory.lr_min if "lr_min" in cfg.schedule.factory else 0
    if lowest > cfg.optimizer.lr:
        raise InputError(
            f"schedule.factory.lr_min={lowest} is above optimizer.lr={cfg.optimizer.lr}: the rate would rise"
        )


def check_decisions(cfg: DictConfig) -> None:
    """Raises InputError for a threshold that does nothing, is off the activation's scale, or of another length than
    data.labels.
    """
    if cfg.threshold is None:
        return
    if cfg.single_label:
        raise InputError(
            f"threshold={cfg.threshold} does nothing with single_label=true, where the largest logit decides: leave it "
            "out"
        )
    labels = known_labels(cfg)
    if labels is None:  # any number of them
        size = 1 if isinstance(cfg.threshold, int | float) else len(cfg.threshold)
        labels = [str(number) for number in range(size)]
    check_threshold(to_plain(cfg.threshold), LabelSpace(tuple(labels), activation=cfg.activation))


def known_labels(cfg: DictConfig) -> list[str] | None:
    """Returns the labels where the settings name them."""
    labels = cfg.data.labels if "labels" in cfg.data else None
    return None if labels is None else list(map(str, labels))


def try_loss(cfg: DictConfig) -> None:
    """Builds the loss for a few labels, or for those that the settings name."""
    if "groups" in cfg.data and cfg.data.groups:
        return  # which labels exclude each other, the data must say
    lists = [len(value) for value in (cfg.loss.weight, cfg.loss.pos_weight) if OmegaConf.is_list(value)]
    labels = known_labels(cfg) or [str(number) for number in range(lists[0] if lists else 2)]
    space = LabelSpace.single_label(labels) if cfg.single_label else LabelSpace(tuple(labels))
    counts = {"label_count": [2] * len(labels), "num_known": [10] * len(labels), "num_images": 10}
    is_mixed = cfg.mix.mixup > 0 or cfg.mix.cutmix > 0
    check_loss(create_loss(**create("loss", cfg.loss, _convert_="all"), space=space, **counts), is_mixed=is_mixed)


def try_model(cfg: DictConfig) -> None:
    """Builds model and head without memory for weights; a model whose folder says how it is made, only later."""
    settings = OmegaConf.to_container(cfg.model)
    weights = settings["weights"]
    if ":" in settings["name"] or (weights and not weights.endswith(WEIGHT_FILES)):
        return
    with torch.device("meta"):
        model = create_model(num_labels=2, **{**settings, "pretrained": False, "weights": None})
        install_head(model, create("head.layer", cfg.head.layer), num_labels=2)
    finetune = create("finetune", cfg.finetune)
    if cfg.grad_checkpointing:
        checkpoint_gradients(model)
    if isinstance(finetune, LastBlocks):
        finetune.find_blocks(model)
    elif not isinstance(finetune, Lora):  # these two run the model, which is for real weights
        finetune.apply(model)
