"""From a recipe to all that takes part in a training."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import set_seed
from timm.data import resolve_input_data_config
from timm.utils import ModelEmaV3
from torch import nn

from multihot.data import source_settings
from multihot.data.bad_images import save_dropped
from multihot.data.checks.pictures import warn_of_pictures
from multihot.data.loader import Batches, create_evaluation_batches, create_training_batches
from multihot.data.manifest import Manifest
from multihot.data.sampling import EvaluationOrder, TrainingOrder, image_repeats
from multihot.errors import name_first, plural
from multihot.files import write_text, writing
from multihot.labels import LabelSpace, show_label
from multihot.loss import MANY_LABELS, MultiLabelLoss, can_factor, check_loss
from multihot.model.features import check_head_alone, hash_backbone
from multihot.model.finetune import check_combination, checkpoint_gradients, count_parameters
from multihot.model.heads import can_factor_head, factor_head, install_head
from multihot.model.sources import check_source
from multihot.model.start import FreshHead, format_table, log_table
from multihot.processes.fsdp import create_ema
from multihot.processes.zero import ZeroAccelerator
from multihot.run.checkpoint import Checkpoints, TrainingState
from multihot.run.folder import START_FILE, UNWRITABLE, Run
from multihot.seal import check_model
from multihot.training.checks import check_answers, check_measured, no_warning
from multihot.training.epoch import Trainer, num_updates
from multihot.training.features import FeatureCache, create_feature_batches
from multihot.training.recipe import Recipe
from multihot.training.trained import Trained
from multihot.training.validation import Validator

log = logging.getLogger(__name__)

LABELS_SHOWN = 8
TRIED_IMAGES = 8  # on which it is seen whether a head alone gives what the model gives


@dataclass(frozen=True)
class Data:
    """What a training reads: images to learn from, images to choose the best epoch by, and what their labels mean."""

    train: Manifest
    val: Manifest
    space: LabelSpace

    def identities(self) -> dict[str, dict]:
        """Returns what tells the splits from others, by their names."""
        return {"train": self.train.identity(), "val": self.val.identity()}


class Learning(NamedTuple):
    """What `accelerator.prepare` gives, and the moving average of the weights."""

    module: nn.Module
    optimizer: AcceleratedOptimizer
    ema: ModelEmaV3 | None


def build(recipe: Recipe, accelerator: Accelerator, run: Run) -> tuple[Trainer, Batches, Validator]:
    """Returns all that trains, the batches it trains on, and what measures it."""
    check_source(recipe.settings["model"]["weights"])  # before data is read, which may take hours
    data = read_data(recipe)
    loss = build_loss(recipe, data)
    warn = partial(log.warning, "%s") if accelerator.is_main_process else no_warning
    check_answers(recipe, run, data.train, data.val, loss, warn)
    if accelerator.is_main_process:
        save_beginning(recipe, run, data)
    model = build_model(recipe, accelerator, run, data, loss)
    if accelerator.is_main_process:
        warn_of_pictures(data.train, resolve_input_data_config(model))
    is_factored = data.train.unlisted == 0 and factor_if_many(recipe, model, loss)
    trained = Trained(accelerator, model, recipe.finetune.trains_backbone, data.space, recipe.settings["head"]["layer"])
    train_batches, val_batches = build_batches(recipe, accelerator, model, data, is_factored)
    trainer = build_trainer(recipe, accelerator, run, trained, loss, num_batches=len(train_batches))
    set_seed(recipe.seed, device_specific=True)  # the weights were the same everywhere; the dropout must differ
    return trainer, train_batches, Validator(run, val_batches, recipe.monitor, data.space, recipe.threshold, trained)


def check_finished(recipe: Recipe, run: Run) -> None:
    """Raises InputError if the data is not what a training that is complete had, or its best model is damaged."""
    data = read_data(recipe)
    run.check_same_data(data.space.labels, data.identities())
    check_model(run.best)


def read_data(recipe: Recipe) -> Data:
    """Returns the train and val data, whose labels are one label space."""
    train = recipe.read("train")
    val = recipe.read("val", train.labels)
    # both are checked
    space, _ = (split.label_space(recipe.single_label, recipe.activation) for split in (train, val))
    return Data(train, val, space)


def build_loss(recipe: Recipe, data: Data) -> MultiLabelLoss:
    """Returns the loss; raises InputError if it, the monitored score or the thresholds do not fit the data."""
    check_measured(recipe.monitor, recipe.threshold, data.space)
    names = name_first(list(map(show_label, data.space.labels)), LABELS_SHOWN)
    counts = len(data.train), plural(len(data.val), "val image"), plural(len(data.space.labels), "label")
    log.info("%d train and %s, %s: %s", *counts, names)
    loss = recipe.create_loss(space=data.space, **data.train.counts())
    check_loss(loss, is_soft=data.train.is_soft or data.val.is_soft, is_mixed=recipe.is_mixed)
    return loss


def save_beginning(recipe: Recipe, run: Run, data: Data) -> None:
    """Writes what the training begins with into its run folder."""
    run.save(recipe.settings, data.space.labels, data.train.counts(), data.identities())
    with writing(run.folder, UNWRITABLE):
        for name, split in (("train", data.train), ("val", data.val)):
            save_dropped(split, run.dropped(name))


def build_model(recipe: Recipe, accelerator: Accelerator, run: Run, data: Data, loss: MultiLabelLoss) -> nn.Module:
    """Returns the timm model with its new head and the head's first weights; what is not to be trained is frozen."""
    check_combination(
        recipe.finetune, recipe.start, recipe.is_mixed, recipe.grad_checkpointing, recipe.settings["model"]
    )
    model = recipe.create_model(num_labels=len(data.space.labels))
    install_head(model, recipe.head, len(data.space.labels))
    model.to(accelerator.device)
    if not recipe.finetune.trains_backbone:
        for batch in create_few_batches(recipe, accelerator, model, data.train):
            check_head_alone(model, batch["image"])
    if not run.goes_on:  # else its weights come with last/
        fresh = FreshHead(
            model,
            data.space,
            data.train,
            read_classifier=recipe.read_classifier,
            pooled_features=lambda: create_cache(recipe, accelerator, model).read_pooled(data.train),
            unknown=loss.unknown,
        )
        table = recipe.start.set_weights(fresh)
        log_table(table)
        if accelerator.is_main_process:
            path = run.folder / START_FILE
            with writing(path, UNWRITABLE):
                write_text(path, format_table(table))
    recipe.finetune.apply(model)
    if recipe.grad_checkpointing:
        checkpoint_gradients(model)
    log.info(count_parameters(model))
    return model


def create_few_batches(recipe: Recipe, accelerator: Accelerator, model: nn.Module, data: Manifest) -> Batches:
    """Returns a few images as evaluation sees them."""
    few, preprocessing = data.thin_out(TRIED_IMAGES), resolve_input_data_config(model)
    return create_evaluation_batches(
        few, accelerator=accelerator, preprocessing=preprocessing, batch_size=recipe.batch_size, num_workers=0
    )


def factor_if_many(recipe: Recipe, model: nn.Module, loss: MultiLabelLoss) -> bool:
    """Returns whether the loss goes through the labels in chunks, with sparse targets, and prepares the head for it."""
    is_many = model.num_classes >= MANY_LABELS and can_factor(loss) and can_factor_head(model)
    if is_many:
        factor_head(model)
        log.info("%d labels: the loss goes through them in chunks", model.num_classes)
    return is_many


def build_batches(
    recipe: Recipe, accelerator: Accelerator, model: nn.Module, data: Data, sparse_target: bool
) -> tuple[Batches, Batches]:
    """Returns the batches for training and validation: of pictures, or of features if the head alone learns."""
    order = TrainingOrder(
        len(data.train),
        recipe.batch_size,
        recipe.seed,
        accelerator.process_index,
        accelerator.num_processes,
        repeats=image_repeats(data.train, **recipe.sampling),
        shards=data.train.shards,
        window=recipe.shuffle_window,
    )
    if not recipe.finetune.trains_backbone:
        return build_feature_batches(recipe, accelerator, model, data, order, sparse_target)
    loading = {
        "preprocessing": resolve_input_data_config(model),
        "accelerator": accelerator,
        "num_workers": recipe.num_workers,
        "cache": recipe.cache,
        "cache_folder": recipe.cache_folder / "images",
    }
    train_batches = create_training_batches(
        data.train,
        recipe.augment,
        image_size=recipe.settings["model"]["train_image_size"],
        order=order,
        seed=recipe.seed,
        sparse_target=sparse_target,
        **loading,
    )
    return train_batches, create_evaluation_batches(data.val, batch_size=recipe.batch_size, **loading)


def build_feature_batches(
    recipe: Recipe,
    accelerator: Accelerator,
    model: nn.Module,
    data: Data,
    order: TrainingOrder,
    sparse_target: bool,
) -> tuple[Batches, Batches]:
    """Returns batches of what the frozen backbone gives, which is computed once and kept."""
    cache = create_cache(recipe, accelerator, model)
    if recipe.finetune.num_views:
        augment = recipe.settings["augment"]
        features = cache.read_views(data.train, recipe.augment, augment, recipe.seed, recipe.finetune.num_views)
    else:
        log.info("images are seen as evaluation sees them; finetune.num_views=4 would augment each in four ways")
        features = cache.read(data.train)
    train_batches = create_feature_batches(data.train, features, order, accelerator.device, sparse_target)
    order = EvaluationOrder(len(data.val), recipe.batch_size, accelerator.process_index, accelerator.num_processes)
    return train_batches, create_feature_batches(data.val, cache.read(data.val), order, accelerator.device)


def create_cache(recipe: Recipe, accelerator: Accelerator, model: nn.Module) -> FeatureCache:
    """Returns the store of the features that the model's frozen backbone gives."""
    settings = {"data": source_settings(recipe.settings["data"]), "mixed_precision": recipe.mixed_precision}
    folder, preprocessing = recipe.cache_folder / "features", resolve_input_data_config(model)
    return FeatureCache(accelerator, model, folder, settings, preprocessing, recipe.batch_size, recipe.num_workers)


def build_trainer(
    recipe: Recipe, accelerator: Accelerator, run: Run, trained: Trained, loss: MultiLabelLoss, num_batches: int
) -> Trainer:
    """Returns what makes the optimizer updates, at the first of them.

    Args:
        num_batches: of an epoch, in this process.
    """
    learning = prepare(recipe, accelerator, trained.module)
    state = TrainingState()
    checkpoints = Checkpoints(
        accelerator,
        learning.optimizer,
        run.last,
        state,
        global_batch_size=recipe.batch_size * accelerator.num_processes,
        frozen_weights=None if recipe.finetune.trains_backbone else hash_backbone(trained.model),
        **recipe.checkpoint,
    )
    accelerator.register_for_checkpointing(state, *([learning.ema] if learning.ema else []))
    updates = num_updates(num_batches, recipe.accumulate_steps, recipe.epochs)
    return Trainer(
        accelerator=accelerator,
        model=learning.module,
        loss=loss.to(accelerator.device),
        optimizer=learning.optimizer,
        schedule=recipe.create_schedule(learning.optimizer, num_updates=updates),
        ema=learning.ema,
        state=state,
        checkpoints=checkpoints,
        mix=recipe.create_mixup(),
        seed=recipe.seed,
        accumulate_steps=recipe.accumulate_steps,
        clip_norm=recipe.clip_norm,
        log_every=recipe.log_every,
    )


def prepare(recipe: Recipe, accelerator: Accelerator, module: nn.Module) -> Learning:
    """Returns module and optimizer as the accelerator makes them, and the moving average."""
    # All of these must see the timm model itself: copied or grouped after `prepare`, it is a wrapped one.
    ema = create_ema(accelerator, module, recipe.ema_decay) if recipe.ema_decay else None
    optimizer = recipe.create_optimizer(module)
    if recipe.compile is True and recipe.finetune.trains_backbone:
        log.info("training steps are compiled: the first of each size of a batch takes up to minutes (compile=false)")
        module.compile(dynamic=False)  # whatever shapes came before, a shape has the same code: a resume depends on it
    if isinstance(accelerator, ZeroAccelerator):
        accelerator.set_up(recipe.batch_size, recipe.clip_norm)
    return Learning(*accelerator.prepare(module, optimizer), ema)
