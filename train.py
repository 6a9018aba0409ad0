"""Fine-tunes a pretrained single-label vision transformer to give one image many labels.

python train.py                      the embedded digits, on any machine, in two minutes
python train.py --help               what can be set
accelerate launch train.py ...       one process a GPU
"""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from multihot.cli import job_of_hydra, run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Returns the best value of the monitored score; None without a validation part."""
    from multihot.cluster import requeued_by_submitit  # imports torch, which --help need not wait for
    from multihot.run import open_run
    from multihot.session import open_session, start_processes
    from multihot.sweep import running

    start_processes()
    with requeued_by_submitit(), open_run(cfg, *job_of_hydra()) as (run, cfg):
        running.folder = run.folder
        finished = run.read_finished()
        if finished is not None:
            log.info("%s is complete: best score %s after epoch %d", run.folder, finished["score"], finished["epoch"])
            return finished["score"]
        with open_session(
            cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed, cfg.tracker.kind, run.folder
        ) as session:
            cfg.mixed_precision, cfg.kernels = session.compute.mixed_precision, session.compute.kernels
            return fine_tune(cfg, session.accelerator, run)


def fine_tune(cfg: DictConfig, accelerator, run) -> float | None:
    """Trains the model, measures it before the first epoch and after each, and keeps the best in the run folder."""
    from multihot.interrupt import noting_signals
    from multihot.sweep import running
    from multihot.tracker import start_tracker
    from multihot.training import train_one_epoch

    trainer, train_batches, validator = build(cfg, accelerator, run)
    state, checkpoints = trainer.state, trainer.checkpoints
    start_tracker(accelerator, run, OmegaConf.to_container(cfg, resolve=True), *job_of_hydra())

    with noting_signals() as checkpoints.stop, telling_how_to_go_on(run):
        if run.goes_on:
            checkpoints.load()
            trainer.schedule.step_update(state.update)
            log.info("going on after epoch %d and %d batches", state.epoch, state.batch)
        else:
            validator.measure(trainer, train_loss=None)
        while state.epoch < cfg.epochs and not validator.has_waited(state, cfg.patience):
            checkpoints.end_if_asked()
            if running.is_hopeless(state.history, cfg.monitor):
                break
            train_loss = train_one_epoch(trainer, train_batches)
            validator.measure(trainer, train_loss)
    validator.show_best(trainer)
    if accelerator.is_main_process:
        run.finish(state.best_score, state.best_epoch)
    if state.best_score is None:
        log.info("nothing was measured (data.val_fraction=0): the model after epoch %d is kept", state.best_epoch)
    else:
        log.info("best %s %.4f after epoch %d", cfg.monitor, state.best_score, state.best_epoch)
    log.info("run folder: %s\nevaluate it: python evaluate.py run=%s split=test", run.folder, run.folder)
    return state.best_score


@contextmanager
def telling_how_to_go_on(run) -> Iterator[None]:
    """Says by which command a training that is stopped from outside goes on."""
    from multihot.interrupt import Interrupted

    try:
        yield
    except Interrupted:
        overrides, job = job_of_hydra()
        name = [] if any(told.startswith("name=") for told in overrides) else [f"name={run.folder.name}"]
        command = f"python train.py {shlex.join([*overrides, *name])}" if job is None else "the command of the sweep"
        log.warning("stopped and saved; to go on: %s", command)
        raise


def build(cfg: DictConfig, accelerator, run) -> tuple:
    """Returns all that trains, the batches it trains on, and what measures it."""
    from accelerate.utils import set_seed

    from multihot.checkpoint import Checkpoints, TrainingState
    from multihot.data.bad_images import save_dropped
    from multihot.data.mixup import create_mixup
    from multihot.loss import check_loss, create_loss
    from multihot.schedule import create_schedule
    from multihot.training import Trainer, num_updates

    train_data, val_data, space = read_splits(cfg)
    counts = train_data.counts()
    loss = create_loss(**instantiate(cfg.loss, _convert_="all"), space=space, **counts)
    check_loss(loss)
    mix = create_mixup(**cfg.mix, num_labels=len(space.labels))
    if accelerator.is_main_process:
        run.save(cfg, space.labels, counts)
        for split, data in (("train", train_data), ("val", val_data)):
            run.note_split(split, len(data), len(data.dropped), data.fingerprint())
            save_dropped(data, run.dropped(split))
    model = build_model(cfg, accelerator, run, train_data, space)
    sparse_target = train_data.unlisted == 0 and factor_if_many(cfg, model, loss, mix)
    trained, train_batches, val_batches, complete = build_batches(
        cfg, accelerator, model, train_data, val_data, sparse_target
    )
    trained, optimizer, ema, complete = prepare(cfg, accelerator, trained, complete)
    state = TrainingState()
    checkpoints = Checkpoints(
        accelerator, optimizer, run.last, state, cfg.batch_size * accelerator.num_processes, **cfg.checkpoint
    )
    accelerator.register_for_checkpointing(state, *([ema] if ema else []))
    updates = num_updates(len(train_batches), cfg.accumulate_steps, cfg.epochs)
    schedule = create_schedule(optimizer, num_updates=updates, **instantiate(cfg.schedule))
    trainer = Trainer(
        accelerator, trained, loss.to(accelerator.device), optimizer, schedule, ema, state, checkpoints, mix,
        cfg.seed, cfg.accumulate_steps, cfg.clip_norm, cfg.log_every,
    )  # fmt: skip
    set_seed(cfg.seed, device_specific=True)  # the weights were the same in all processes; their dropout must differ
    return trainer, train_batches, build_validator(cfg, run, val_batches, space, complete)


def read_splits(cfg: DictConfig) -> tuple:
    """Returns the train and val data and their label space."""
    from multihot.data import create_reader, load_split

    load = partial(
        load_split,
        create_reader(cfg.data),
        max_images=cfg.max_images,
        bad_images=cfg.data.bad_images,
        cache_folder=cfg.data.cache_folder,
        num_workers=cfg.num_workers,
    )
    train_data = load("train")
    val_data = load("val", train_data.labels)
    spaces = [data.label_space(cfg.single_label, cfg.activation) for data in (train_data, val_data)]  # both are checked
    return train_data, val_data, spaces[0]


def build_model(cfg: DictConfig, accelerator, run, train_data, space):
    """Returns the timm model with its new head and the head's first weights; what is not to be trained is frozen."""
    from multihot.files import write_text
    from multihot.model.create import create_model
    from multihot.model.finetune import check_combination, count_parameters
    from multihot.model.heads import install_head
    from multihot.model.sources import read_classifier
    from multihot.model.start import format_table, start_head

    finetune, settings = instantiate(cfg.finetune), OmegaConf.to_container(cfg.model)
    is_mixed = cfg.mix.mixup > 0 or cfg.mix.cutmix > 0
    check_combination(finetune, cfg.head.start, is_mixed, cfg.grad_checkpointing, settings["kwargs"])
    model = create_model(num_labels=len(space.labels), **settings)
    install_head(model, instantiate(cfg.head.layer), len(space.labels))
    model.to(accelerator.device)
    if not run.goes_on:  # else its weights come with last/
        source = {"pretrained": cfg.model.pretrained, "weights": cfg.model.weights}
        takes_unknown_for_absent = cfg.loss.unknown.strategy in ("negative", "large_loss_rejection")
        table = start_head(
            model,
            cfg.head.start,
            space,
            train_data.with_unknown_absent() if takes_unknown_for_absent else train_data,
            read_classifier=partial(read_classifier, cfg.model.name, class_names=cfg.head.class_names, **source),
            pooled_features=lambda: create_cache(cfg, accelerator, model).read_pooled(train_data),
            aliases=cfg.head.aliases,
            grow=cfg.head.grow,
        )
        if accelerator.is_main_process:
            write_text(run.head_start, format_table(table))
    if cfg.grad_checkpointing:
        model.set_grad_checkpointing()
    finetune.apply(model)
    log.info(count_parameters(model))
    return model


def factor_if_many(cfg: DictConfig, model, loss, mix) -> bool:
    """Returns whether the loss goes through the labels in chunks, with sparse targets, and prepares the head for it."""
    from multihot.loss import MANY_LABELS, can_factor
    from multihot.model.heads import factor_head

    is_many = cfg.head.layer is None and mix is None and model.num_classes >= MANY_LABELS and can_factor(loss)
    if is_many:
        factor_head(model)
        log.info("%d labels: the loss goes through them in chunks", model.num_classes)
    return is_many


def build_batches(cfg: DictConfig, accelerator, model, train_data, val_data, sparse_target: bool) -> tuple:
    """Returns what is trained, its batches for training and validation, and what makes it a whole model again."""
    from multihot.data.loader import create_evaluation_batches, create_training_batches
    from multihot.data.sampling import EvaluationOrder, TrainingOrder, image_repeats
    from multihot.model.features import HeadOnFeatures, complete_model, create_feature_batches
    from multihot.model.finetune import merge_lora

    finetune, augment = instantiate(cfg.finetune), instantiate(cfg.augment)
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
        return model, train_batches, val_batches, merge_lora

    if finetune.num_views:
        settings = OmegaConf.to_container(cfg.augment)
        features = cache.read_views(train_data, augment, settings, cfg.seed, finetune.num_views)
    else:
        log.info("images are seen as evaluation sees them; finetune.num_views=4 would augment each in four ways")
        features = cache.read(train_data)
    train_batches = create_feature_batches(train_data, features, order, accelerator.device, sparse_target)
    order = EvaluationOrder(len(val_data), cfg.batch_size, *place)
    val_batches = create_feature_batches(val_data, cache.read(val_data), order, accelerator.device)
    return HeadOnFeatures(model), train_batches, val_batches, partial(complete_model, model)


def create_cache(cfg: DictConfig, accelerator, model):
    """Returns the store of the features that the model's frozen backbone gives."""
    from timm.data import resolve_input_data_config

    from multihot.data import source_settings
    from multihot.model.features import FeatureCache

    settings = {"data": source_settings(OmegaConf.to_container(cfg.data)), "mixed_precision": cfg.mixed_precision}
    folder, preprocessing = Path(cfg.data.feature_cache), resolve_input_data_config(model)
    return FeatureCache(accelerator, model, folder, settings, preprocessing, cfg.batch_size, cfg.num_workers)


def prepare(cfg: DictConfig, accelerator, trained, complete) -> tuple:
    """Returns model and optimizer as the accelerator makes them, the moving average, and `complete` for both."""
    from multihot.fsdp import create_ema, gather_before
    from multihot.optimizer import create_optimizer
    from multihot.zero import ZeroAccelerator

    # All of these must see the timm model itself: copied or grouped after `prepare`, it is a wrapped one.
    complete = gather_before(complete, accelerator, trained)
    ema = create_ema(accelerator, trained, cfg.ema.decay, cfg.ema.warmup) if cfg.ema.decay else None
    optimizer = create_optimizer(trained, **instantiate(cfg.optimizer))
    if cfg.compile:
        trained.compile(dynamic=False)  # whatever shapes came before, a shape has the same code: a resume depends on it
    if isinstance(accelerator, ZeroAccelerator):
        accelerator.set_up(cfg.batch_size, cfg.clip_norm)
    return *accelerator.prepare(trained, optimizer), ema, complete


def build_validator(cfg: DictConfig, run, val_batches, space, complete):
    """Returns what measures after each epoch and saves the best model, which `complete` gives to process 0."""
    from multihot.model.saved import save_model
    from multihot.validation import Validator

    head = OmegaConf.to_container(cfg.head.layer) if cfg.head.layer else None

    def save(trained, folder: Path) -> None:
        whole = complete(trained)
        if whole is not None:
            save_model(whole, folder, space=space, head=head)

    return Validator(run, val_batches, cfg.monitor, space, cfg.threshold, cfg.ema.evaluate, save)


if __name__ == "__main__":
    run_script(main)
