"""Fine-tunes a pretrained single-label vision transformer to give one image many labels.

python train.py                      the embedded digits, on any machine, in two minutes
python train.py --help               what can be set
accelerate launch train.py ...       one process a GPU
"""

import logging

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from multihot.cli import job_of_hydra, run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Returns the best value of the monitored score."""
    from multihot.run import open_run  # imports torch, which --help need not wait for
    from multihot.session import open_session, start_processes

    start_processes()
    run, cfg = open_run(cfg, *job_of_hydra())
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed, cfg.tracker.kind, run.folder) as session:
        cfg.mixed_precision, cfg.kernels = session.compute.mixed_precision, session.compute.kernels
        return fine_tune(cfg, session.accelerator, run)


def fine_tune(cfg: DictConfig, accelerator, run) -> float:
    """Trains the model, measures it before the first epoch and after each, and keeps the best in the run folder."""
    from multihot.checkpoint import load_last
    from multihot.tracker import start_tracker
    from multihot.training import train_one_epoch

    trainer, train_batches, validator = build(cfg, accelerator, run)
    state = trainer.state
    if accelerator.is_main_process:
        run.save(cfg, validator.data.labels)
    start_tracker(accelerator, run, OmegaConf.to_container(cfg, resolve=True), *job_of_hydra())

    if run.goes_on:
        load_last(accelerator, run.last, state)
        trainer.schedule.step_update(state.update)
        log.info("going on after epoch %d", state.epoch)
    else:
        validator.measure(trainer, train_loss=None)
    while state.epoch < cfg.epochs and not validator.has_waited(state, cfg.patience):
        train_loss = train_one_epoch(trainer, train_batches)
        validator.measure(trainer, train_loss)
    validator.show_best(trainer)
    log.info("best %s %.4f after epoch %d", cfg.monitor, state.best_score, state.best_epoch)
    log.info("run folder: %s\nevaluate it: python evaluate.py run=%s split=test", run.folder, run.folder)
    return state.best_score


def build(cfg: DictConfig, accelerator, run) -> tuple:
    """Returns all that trains, the batches it trains on, and what measures it."""
    from accelerate.utils import set_seed
    from timm.data import resolve_input_data_config
    from timm.utils import ModelEmaV3

    from multihot.checkpoint import TrainingState
    from multihot.data.loader import create_evaluation_batches, create_training_batches
    from multihot.loss import check_loss
    from multihot.model.create import create_model, start_head
    from multihot.optimizer import create_optimizer
    from multihot.schedule import create_schedule
    from multihot.training import Trainer, num_updates
    from multihot.validation import Validator

    read = instantiate(cfg.data)
    train_data = read("train").thin_out(cfg.max_images)
    val_data = read("val", labels=train_data.labels).thin_out(cfg.max_images)
    model = create_model(num_labels=len(train_data.labels), **OmegaConf.to_container(cfg.model))
    start_head(model, cfg.head.start, train_data.label_frequency(), len(train_data))
    loss = instantiate(cfg.loss)
    check_loss(loss, cfg.single_label)
    if cfg.single_label:
        train_data.check_one_label()
        val_data.check_one_label()

    loading = {"preprocessing": resolve_input_data_config(model), "accelerator": accelerator}
    loading |= {"batch_size": cfg.batch_size, "num_workers": cfg.num_workers}
    train_batches = create_training_batches(train_data, instantiate(cfg.augment), seed=cfg.seed, **loading)
    val_batches = create_evaluation_batches(val_data, **loading)

    model.to(accelerator.device)
    # Both must see the timm model itself: copied or grouped after `prepare`, it is a wrapped one.
    ema = ModelEmaV3(model, decay=cfg.ema.decay, use_warmup=cfg.ema.warmup) if cfg.ema.decay else None
    optimizer = create_optimizer(model, **instantiate(cfg.optimizer))
    model, optimizer = accelerator.prepare(model, optimizer)
    state = TrainingState(num_processes=accelerator.num_processes)
    accelerator.register_for_checkpointing(state, *([ema] if ema else []))
    updates = num_updates(len(train_batches), cfg.accumulate_steps, cfg.epochs)
    schedule = create_schedule(optimizer, num_updates=updates, **instantiate(cfg.schedule))
    trainer = Trainer(
        accelerator, model, loss.to(accelerator.device), optimizer, schedule, ema, state,
        cfg.accumulate_steps, cfg.clip_norm, cfg.log_every,
    )  # fmt: skip
    set_seed(cfg.seed, device_specific=True)  # the weights were the same in all processes; their dropout must differ
    validator = Validator(run, val_batches, cfg.monitor, cfg.threshold, cfg.single_label, cfg.ema.evaluate)
    return trainer, train_batches, validator


if __name__ == "__main__":
    run_script(main)
