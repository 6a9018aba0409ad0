"""DeepSpeed's ZeRO-1 and ZeRO-2, which divide optimizer states and gradients among the processes: what differs then."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import nn

from multihot.errors import InputError


def is_deepspeed() -> bool:
    """Returns whether the processes were launched for DeepSpeed, as by conf/accelerate/deepspeed.yaml."""
    return parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")


class ZeroAccelerator(Accelerator):
    """An accelerator that makes the same training under DeepSpeed as the plain one makes without it.

    Accelerate would have DeepSpeed cast the weights themselves to bfloat16, and so norms, logits and best/ too. Here
    they stay float32 and are computed with under autocast.
    """

    def __init__(self, mixed_precision: str, **settings):
        if mixed_precision == "fp16":
            raise InputError("DeepSpeed and mixed_precision=fp16 do not go together here: choose bf16 or no")
        super().__init__(mixed_precision="no", **settings)
        self.is_mixed = mixed_precision == "bf16"
        check_config(self.deepspeed_plugin.deepspeed_config)

    def set_up(self, batch_size: int, clip_norm: float | None) -> None:
        """Tells DeepSpeed what it does itself; to be called before `prepare`."""
        autocast = {"enabled": self.is_mixed, "dtype": "bfloat16", "lower_precision_safe_modules": []}
        self.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": batch_size,
            "gradient_clipping": clip_norm or 0.0,
            "torch_autocast": autocast,  # which DeepSpeed else switches off inside the model
        }

    def autocast(self, autocast_handler: object = None) -> AbstractContextManager:
        """Returns the context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_mixed)

    def load_state(self, input_dir: str) -> None:
        """Loads a checkpoint that as many processes have written; DeepSpeed would pass any other over in silence."""
        written = len(list(Path(input_dir).glob("*/*_optim_states.pt")))
        if written != self.num_processes:
            raise InputError(
                f"{input_dir} was written by {written} processes and DeepSpeed cannot go on from it with "
                f"{self.num_processes}: launch as before, or give the run a new name"
            )
        super().load_state(input_dir)

    @contextmanager
    def no_sync(self, model: nn.Module) -> Iterator[None]:
        """Lets `backward` add up gradients alone; else DeepSpeed clips them and makes the update in it too."""
        self.sync_gradients = False
        try:
            yield
        finally:
            self.sync_gradients = True


def check_config(config: dict) -> None:
    """Raises InputError for what DeepSpeed's settings ask for and cannot have here, or have from train.py."""
    zero = config["zero_optimization"]
    if zero["stage"] not in (1, 2):
        raise InputError(f"zero_stage={zero['stage']} of DeepSpeed: take 1 or 2, or FSDP to divide the weights too")
    for part in ("offload_optimizer", "offload_param"):
        if (zero.get(part) or {}).get("device", "none") != "none":
            raise InputError(
                f"{part} of DeepSpeed puts another optimizer in the place of yours: set its device to none"
            )
    if config.get("gradient_accumulation_steps", "auto") not in ("auto", 1):
        raise InputError("gradient_accumulation_steps of DeepSpeed: leave it out, and set accumulate_steps of train.py")
    if config.get("gradient_clipping", "auto") != "auto":
        raise InputError("gradient_clipping of DeepSpeed: leave it out, and set clip_norm of train.py")
    for name in ("optimizer", "scheduler", "fp16", "bf16"):
        if config.get(name, {"enabled": False}).get("enabled", True):
            raise InputError(f"{name} of DeepSpeed: leave it out, train.py has settings for it")
