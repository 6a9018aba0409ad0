"""A model for prediction with weights kept as autocast rounds them, beside one whose weights it rounds anew."""

from copy import deepcopy
from statistics import median

import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf
from timing import in_turn, process_seconds
from timm.data import resolve_input_data_config
from torch import nn

from multihot.model.create import create_model
from multihot.model.pieces import InPieces
from multihot.model.rounded import round_weights
from multihot.processes.session import open_session

NUM_LABELS = 80


def measure_weights(cfg: DictConfig) -> None:
    """Prints the memory of both and the ratio of their seconds, for one image and for a batch, in bfloat16."""
    with open_session("bf16", cfg.kernels, cfg.model, cfg.seed) as session:
        model = create_model(num_labels=NUM_LABELS, **OmegaConf.to_container(cfg.model))
        model.to(session.accelerator.device).eval()
        image = torch.randn(cfg.batch_size, *resolve_input_data_config(model)["input_size"])
        models = [InPieces(each) for each in (model, round_weights(deepcopy(model), "bf16"))]
        anew, kept = map(count_megabytes, models)
        print(f"weights of {cfg.model.name}: {kept:.0f} MB rounded, {anew:.0f} in float32")
        for batch in (image[:1], image):
            logits = [predict(each, batch, session.accelerator) for each in models]
            actions = [lambda each=each, batch=batch: predict(each, batch, session.accelerator) for each in models]
            times = in_turn(cfg.num_rounds, *actions, clock=process_seconds)
            ratios = sorted(own / other for other, own in zip(*times, strict=True))
            print(
                f"  {len(batch)} at once: {1e3 * median(times[1]):.0f} ms, {1e3 * median(times[0]):.0f} with float32; "
                f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
                f"logits differ by {(logits[0] - logits[1]).abs().max():.0e} at most"
            )


@torch.no_grad()
def predict(model: nn.Module, image: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """Returns the logits (B, C)."""
    with accelerator.autocast():
        return model(image.to(accelerator.device)).float()


def count_megabytes(model: nn.Module) -> float:
    """Returns how much memory the weights take."""
    return sum(parameter.nbytes for parameter in model.parameters()) / 1e6
