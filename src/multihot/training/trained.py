"""What learns, and how it becomes the whole model that is saved."""

from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator
from torch import nn

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.model.features import HeadOnFeatures, complete_model
from multihot.model.finetune import merge_lora
from multihot.model.saved import save_model
from multihot.processes.fsdp import gather, outline_shards


class Trained:
    """A timm model that learns, or its head alone on features; `module` is the one that learns.

    It must be made before `accelerator.prepare`: a model that is spread over processes does not say how it was built.
    """

    def __init__(
        self, accelerator: Accelerator, model: nn.Module, trains_backbone: bool, space: LabelSpace, head: Mapping | None
    ):
        if accelerator.is_fsdp2 and not trains_backbone:
            raise InputError("finetune=head trains the head alone, which needs no FSDP: launch without its file")
        self.is_main_process, self.model, self.space, self.head = accelerator.is_main_process, model, space, head
        self.module = model if trains_backbone else HeadOnFeatures(model)
        self.outline = outline_shards(model) if accelerator.is_fsdp2 else None

    def measured(self, learned: nn.Module) -> nn.Module:
        """Returns what gives the logits of the module or of its moving average: with the weights that are saved.

        A low-rank update is merged: in bfloat16 the sum of two products rounds otherwise.
        """
        return merge_lora(learned)

    def whole(self, learned: nn.Module) -> nn.Module | None:
        """Returns the whole model of the module or of its moving average in process 0, None in the others.

        All processes must call it.
        """
        if self.outline is not None:
            learned = gather(learned, self.outline)
        if not self.is_main_process:
            return None
        return merge_lora(learned) if self.module is self.model else complete_model(self.model, learned)

    def save(self, learned: nn.Module, folder: Path) -> None:
        """Writes the whole model of the module or of its moving average into a folder; all processes must call it."""
        whole = self.whole(learned)
        if whole is not None:
            save_model(whole, folder, space=self.space, head=self.head)
