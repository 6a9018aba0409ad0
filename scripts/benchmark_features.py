"""Features of a frozen backbone, from image files to the disk, beside the same model on batches in memory."""

from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf
from timing import in_turn, process_seconds, report
from timm.data import resolve_input_data_config
from torch import Tensor, nn

from multihot.data import create_reader
from multihot.data.loader import create_evaluation_batches
from multihot.model.create import create_model
from multihot.model.features import read_features
from multihot.processes.session import open_session
from multihot.training.features import FeatureCache


def measure_features(cfg: DictConfig, folder: Path) -> None:
    """Prints how many images a second of the processor become features, and how many the bare model takes."""
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        accelerator = session.accelerator
        model = create_model(num_labels=2, **OmegaConf.to_container(cfg.model)).to(accelerator.device).eval()
        data = create_reader(cfg.data)("train").thin_out(cfg.max_images)
        # The processes of a loader would not be counted.
        loading = {"preprocessing": resolve_input_data_config(model), "batch_size": cfg.batch_size, "num_workers": 0}
        cached = [batch["image"] for batch in create_evaluation_batches(data, accelerator=accelerator, **loading)]
        rounds = (folder / f"features{number}" for number in count())  # each computes anew
        own, bare = in_turn(
            cfg.num_rounds,
            lambda: FeatureCache(accelerator, model, next(rounds), {}, **loading).read(data),
            lambda: [read_bare(accelerator, model, image) for image in cached],
            clock=process_seconds,
        )
        precision, kernels = session.compute.mixed_precision, session.compute.kernels
    title = f"features, {cfg.model.name}, mixed precision {precision}, {kernels} kernels"
    report(title, len(data), own, "the bare model on cached batches", bare)


@torch.inference_mode()
def read_bare(accelerator: Accelerator, model: nn.Module, image: Tensor) -> Tensor:
    """Returns the features of images (B, 3, H, W)."""
    with accelerator.autocast():
        return read_features(model, image)
