"""From the settings to all that takes part in a training."""

import logging
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import set_seed
from omegaconf import DictConfig, OmegaConf
from timm.data import resolve_input_data_config
from timm.utils import ModelEmaV3
from torch import nn

from multihot.data import create_reader, load_split, source_settings
from multihot.data.bad_images import save_dropped
from multihot.data.checks.pictures import warn_of_pictures
from multihot.data.loader import Batches, create_evaluation_batches, create_training_batches
from multihot.data.manifest import Manifest
from multihot.data.mixup import MultiLabelMixup, create_mixup
from multihot.data.sampling import EvaluationOrder, TrainingOrder, image_repeats
from multihot.errors import name_first
from multihot.files import write_text, writing
from multihot.known_classes import create
from multihot.labels import LabelSpace, show_label
from multihot.loss import MANY_LABELS, MultiLabelLoss, UnknownStrategy, can_factor, check_loss, create_loss
from multihot.model.create import create_model
from multihot.model.features import hash_backbone
from multihot.model.finetune import check_combination, count_parameters
from multihot.model.heads import factor_head, install_head
from multihot.model.sources import check_source, read_classifier
from multihot.model.start import FreshHead, format_table, log_table
from multihot.processes.fsdp import create_ema
from multihot.processes.zero import ZeroAccelerator
from multihot.run.checkpoint import Checkpoints, TrainingState
from multihot.run.folder import UNWRITABLE, Run
from multihot.seal import check_model
from multihot.training.checks import check_answers, check_measured, no_warning
from multihot.training.epoch import Trainer, num_updates
from multihot.training.features import FeatureCache, create_feature_batches
from multihot.training.optimizer import create_optimizer
from multihot.training.schedule import create_schedule
from multihot.training.trained import Trained
from multihot.training.validation import Validator

log = logging.getLogger(__name__)

LABELS_SHOWN = 8


def build(cfg: DictConfig, accelerator: Accelerator, run: Run) -> tuple[Trainer, Batches, Validator]:
    """Returns all that trains, the batches it trains on, and what measures it."""
    check_source(cfg.model.weights)  # before data is read, which may take hours
    train_data, val_data, space = read_splits(cfg)
    check_measured(cfg.monitor, cfg.threshold, space)
    names = name_first(list(map(show_label, space.labels)), LABELS_SHOWN)
    log.info("%d train and %d val images, %d labels: %s", len(train_data), len(val_data), len(space.labels), names)
    counts = train_data.counts()
    loss = create_loss(**create("loss", cfg.loss, _convert_="all"), space=space, **counts)
    mix = create_mixup(**cfg.mix, num_labels=len(space.labels))
    check_loss(loss, is_soft=train_data.is_soft or val_data.is_soft, is_mixed=mix is not None)
    warn = partial(log.warning, "%s") if accelerator.is_main_process else no_warning
    check_answers(cfg, run, train_data, val_data, loss, warn)
    if accelerator.is_main_process:
        run.save(cfg, space.labels, counts, identify(train_data, val_data))
        with writing(run.folder, UNWRITABLE):
            for split, data in (("train", train_data), ("val", val_data)):
                save_dropped(data, run.dropped(split))
    finetune = create("finetune", cfg.finetune)
    model = build_model(cfg, accelerator, run, train_data, space, loss.unknown, finetune)
    if accelerator.is_main_process:
        warn_of_pictures(train_data, resolve_input_data_config(model))
    sparse_target = train_data.unlisted == 0 and factor_if_many(cfg, model, loss, mix)
    head = OmegaConf.to_container(cfg.head.layer) if cfg.head.layer else None
    trained = Trained(accelerator, model, finetune.trains_backbone, space, head)
    train_batches, val_batches = build_batches(cfg, accelerator, model, train_data, val_data, sparse_target, finetune)
    prepared, optimizer, ema = prepare(cfg, accelerator, trained.module)
    state = TrainingState()
    checkpoints = Checkpoints(
        accelerator,
        optimizer,
        run.last,
        state,
        global_batch_size=cfg.batch_size * accelerator.num_processes,
        frozen_weights=None if finetune.trains_backbone else hash_backbone(model),
        **cfg.checkpoint,
    )
    accelerator.register_for_checkpointing(state, *([ema] if ema else []))
    updates = num_updates(len(train_batches), cfg.accumulate_steps, cfg.epochs)
    trainer = Trainer(
        accelerator=accelerator,
        model=prepared,
        loss=loss.to(accelerator.device),
        optimizer=optimizer,
        schedule=create_schedule(optimizer, num_updates=updates, **create("schedule", cfg.schedule)),
        ema=ema,
        state=state,
        checkpoints=checkpoints,
        mix=mix,
        seed=cfg.seed,
        accumulate_steps=cfg.accumulate_steps,
        clip_norm=cfg.clip_norm,
        log_every=cfg.log_every,
    )
    set_seed(cfg.seed, device_specific=True)  # the weights were the same in all processes; their dropout must differ
    validator = Validator(run, val_batches, cfg.monitor, space, cfg.threshold, trained)
    return trainer, train_batches, validator


def check_finished(cfg: DictConfig, run: Run) -> None:
    """Raises InputError if the data is not what a training that is complete had, or its best model is damaged."""
    train_data, val_data, space = read_splits(cfg)
    run.check_same_data(space.labels, identify(train_data, val_data))
    check_model(run.best)


def identify(train_data: Manifest, val_data: Manifest) -> dict[str, dict]:
    """Returns what tells the splits from others, by their names."""
    return {"train": train_data.identity(), "val": val_data.identity()}


def read_splits(cfg: DictConfig) -> tuple[Manifest, Manifest, LabelSpace]:
    """Returns the train and val data and their label space."""
    load = partial(
        load_split,
        create_reader(cfg.data),
        max_images=cfg.max_images,
        bad_images=cfg.data.bad_images,
        cache_folder=cfg.data.cache_folder,
        num_workers=cfg.num_workers,
        value_range=cfg.data.value_range,
    )
    train_data = load("train")
    val_data = load("val", train_data.labels)
    spaces = [data.label_space(cfg.single_label, cfg.activation) for data in (train_data, val_data)]  # both are checked
    return train_data, val_data, spaces[0]


def build_model(
    cfg: DictConfig,
    accelerator: Accelerator,
    run: Run,
    train_data: Manifest,
    space: LabelSpace,
    unknown: UnknownStrategy,
    finetune: object,
) -> nn.Module:
    """Returns the timm model with its new head and the head's first weights; what is not to be trained is frozen.

    Args:
        unknown: what the loss takes an unknown answer for.
        finetune: what learns, from conf/finetune.
    """
    start, settings = create("start", cfg.start), OmegaConf.to_container(cfg.model)
    is_mixed = cfg.mix.mixup > 0 or cfg.mix.cutmix > 0
    check_combination(finetune, start, is_mixed, cfg.grad_checkpointing, settings["kwargs"])
    model = create_model(num_labels=len(space.labels), **settings)
    install_head(model, create("head.layer", cfg.head.layer), len(space.labels))
    model.to(accelerator.device)
    if not run.goes_on:  # else its weights come with last/
        source = {"pretrained": cfg.model.pretrained, "weights": cfg.model.weights}
        fresh = FreshHead(
            model,
            space,
            train_data,
            read_classifier=partial(read_classifier, cfg.model.name, **source),
            pooled_features=lambda: create_cache(cfg, accelerator, model).read_pooled(train_data),
            unknown=unknown,
        )
        table = start.set_weights(fresh)
        log_table(table)
        if accelerator.is_main_process:
            with writing(run.head_start, UNWRITABLE):
                write_text(run.head_start, format_table(table))
    if cfg.grad_checkpointing:
        model.set_grad_checkpointing()
    finetune.apply(model)
    log.info(count_parameters(model))
    return model


def factor_if_many(cfg: DictConfig, model: nn.Module, loss: MultiLabelLoss, mix: MultiLabelMixup | None) -> bool:
    """Returns whether the loss goes through the labels in chunks, with sparse targets, and prepares the head for it."""
    is_many = cfg.head.layer is None and mix is None and model.num_classes >= MANY_LABELS and can_factor(loss)
    if is_many:
        factor_head(model)
        log.info("%d labels: the loss goes through them in chunks", model.num_classes)
    return is_many


def build_batches(
    cfg: DictConfig,
    accelerator: Accelerator,
    model: nn.Module,
    train_data: Manifest,
    val_data: Manifest,
    sparse_target: bool,
    finetune: object,
) -> tuple[Batches, Batches]:
    """Returns the batches for training and validation: of pictures, or of features if the head alone learns."""
    augment = create("augment", cfg.augment)
    cache = create_cache(cfg, accelerator, model)
    place = accelerator.process_index, accelerator.num_processes
    how_often = {"repeats": image_repeats(train_data, **cfg.data.sampling)}
    how_often |= {"shards": train_data.shards, "window": cfg.data.shuffle_window}
    order = TrainingOrder(len(train_data), cfg.batch_size, cfg.seed, *place, **how_often)
    if finetune.trains_backbone:
        loading = {"preprocessing": cache.preprocessing, "accelerator": accelerator, "num_workers": cfg.num_workers}
        loading |= {"cache": cfg.data.cache, "cache_folder": Path(cfg.data.cache_folder) / "images"}
        train_batches = create_training_batches(
            train_data, augment, order=order, seed=cfg.seed, sparse_target=sparse_target, **loading
        )
        val_batches = create_evaluation_batches(val_data, batch_size=cfg.batch_size, **loading)
        return train_batches, val_batches

    if finetune.num_views:
        settings = OmegaConf.to_container(cfg.augment)
        features = cache.read_views(train_data, augment, settings, cfg.seed, finetune.num_views)
    else:
        log.info("images are seen as evaluation sees them; finetune.num_views=4 would augment each in four ways")
        features = cache.read(train_data)
    train_batches = create_feature_batches(train_data, features, order, accelerator.device, sparse_target)
    order = EvaluationOrder(len(val_data), cfg.batch_size, *place)
    val_batches = create_feature_batches(val_data, cache.read(val_data), order, accelerator.device)
    return train_batches, val_batches


def create_cache(cfg: DictConfig, accelerator: Accelerator, model: nn.Module) -> FeatureCache:
    """Returns the store of the features that the model's frozen backbone gives."""
    settings = {"data": source_settings(OmegaConf.to_container(cfg.data)), "mixed_precision": cfg.mixed_precision}
    folder, preprocessing = Path(cfg.data.cache_folder) / "features", resolve_input_data_config(model)
    return FeatureCache(accelerator, model, folder, settings, preprocessing, cfg.batch_size, cfg.num_workers)


def prepare(
    cfg: DictConfig, accelerator: Accelerator, module: nn.Module
) -> tuple[nn.Module, AcceleratedOptimizer, ModelEmaV3 | None]:
    """Returns module and optimizer as the accelerator makes them, and the moving average."""
    # All of these must see the timm model itself: copied or grouped after `prepare`, it is a wrapped one.
    ema = create_ema(accelerator, module, cfg.ema.decay) if cfg.ema.decay else None
    optimizer = create_optimizer(module, **create("optimizer", cfg.optimizer))
    if cfg.compile:
        module.compile(dynamic=False)  # whatever shapes came before, a shape has the same code: a resume depends on it
    if isinstance(accelerator, ZeroAccelerator):
        accelerator.set_up(cfg.batch_size, cfg.clip_norm)
    return *accelerator.prepare(module, optimizer), ema
