"""What a training is made of: everything that its settings say, before any data is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from multihot.data import create_source
from multihot.data.manifest import Manifest
from multihot.data.mixup import MultiLabelMixup, create_mixup
from multihot.known_classes import create
from multihot.loss import MultiLabelLoss, create_loss
from multihot.model.create import create_model
from multihot.model.sources import read_classifier
from multihot.model.weight_files import Classifier
from multihot.training.optimizer import create_optimizer
from multihot.training.schedule import create_schedule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of a training, and plain values with the names of their settings."""

    settings: Mapping  # all of them, as they are saved
    read: Callable[..., Manifest]  # (split, labels=None) -> its images
    single_label: bool
    activation: str
    sampling: Mapping
    shuffle_window: int | None
    cache: str
    cache_folder: Path
    num_workers: int | None
    augment: Callable  # timm.data.create_transform
    create_mixup: Callable[[], MultiLabelMixup | None]

    create_model: Callable[..., nn.Module]  # (num_labels=)
    head: partial | None  # of a head's class; None: timm's own
    start: object  # gives the head its first weights
    read_classifier: Callable[..., Classifier]  # of the pretrained model
    finetune: object  # what learns
    grad_checkpointing: bool
    compile: bool | str  # "auto": nothing has decided it, and nothing is compiled

    create_loss: Callable[..., MultiLabelLoss]  # (space=, label_count=, num_known=, num_images=)
    create_optimizer: Callable[[nn.Module], Optimizer]
    create_schedule: Callable[..., Scheduler]  # (optimizer, num_updates=)
    epochs: int
    batch_size: int
    accumulate_steps: int
    clip_norm: float | None
    ema_decay: float | None
    seed: int
    mixed_precision: str

    monitor: str
    threshold: float | Sequence[float] | None
    patience: int | None
    max_images: int | None
    checkpoint: Mapping
    log_every: int

    @property
    def is_mixed(self) -> bool:
        """Whether images are mixed with each other."""
        return self.settings["mix"]["mixup"] > 0 or self.settings["mix"]["cutmix"] > 0


SAME_NAME = (
    "single_label", "activation", "num_workers", "grad_checkpointing", "compile", "epochs", "batch_size",
    "accumulate_steps", "clip_norm", "seed", "mixed_precision", "monitor", "threshold", "patience", "max_images",
    "checkpoint", "log_every",
)  # fmt: skip


def read_recipe(settings: Mapping) -> Recipe:
    """Returns what settings say, nested as in conf/train.yaml and resolved; raises InputError for what is wrong."""
    data, model = settings["data"], settings["model"]
    source = {"pretrained": model["pretrained"], "weights": model["weights"]}
    return Recipe(
        settings=settings,
        read=create_source(data, settings["max_images"], settings["num_workers"]),
        sampling=data["sampling"],
        shuffle_window=data["shuffle_window"],
        cache=data["cache"],
        cache_folder=Path(data["cache_folder"]),
        augment=create("augment", settings["augment"]),
        create_mixup=partial(create_mixup, **settings["mix"]),
        create_model=partial(create_model, **model),
        head=create("head.layer", settings["head"]["layer"]),
        start=create("start", settings["start"]),
        read_classifier=partial(read_classifier, model["name"], **source),
        finetune=create("finetune", settings["finetune"]),
        create_loss=partial(create_loss, **create("loss", settings["loss"], _convert_="all")),
        create_optimizer=partial(create_optimizer, **create("optimizer", settings["optimizer"])),
        create_schedule=partial(create_schedule, **create("schedule", settings["schedule"])),
        ema_decay=settings["ema"]["decay"],
        **{name: settings[name] for name in SAME_NAME},
    )
