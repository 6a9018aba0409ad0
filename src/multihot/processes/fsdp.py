"""One model spread over all processes by FSDP2, where it else is whole in each: what differs then, in one place."""

import copy

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType, fsdp2_prepare_model, parse_flag_from_env
from timm.utils import ModelEmaV3
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy

from multihot.errors import InputError


def follow_fsdp(accelerator: Accelerator) -> None:
    """Has Accelerate shard as conf/accelerate/fsdp2.yaml asks, on CPUs too, where it else ignores the file silently.

    Weights stay float32 and are computed with under autocast, so that a run has the numbers of an unsharded one.

    Raises:
        InputError: the file asks for FSDP1.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP") or accelerator.num_processes == 1:
        return
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise InputError("FSDP needs fsdp_version: 2 in the file of Accelerate, as in conf/accelerate/fsdp2.yaml")
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP


def outline_shards(model: nn.Module) -> nn.Module:
    """Returns a model without values, for `gather`, and prepares the model to be sharded block by block."""
    outline = copy.deepcopy(model).to("meta")
    blocks = getattr(model, "blocks", ())
    model._no_split_modules = sorted({type(block).__name__ for block in blocks})  # which Accelerate looks for
    return outline


def read_whole(sharded: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the whole weights on the CPU in process 0, nothing in the others; all must call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict  # slow to import

    return get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def gather(sharded: nn.Module, outline: nn.Module) -> nn.Module | None:
    """Returns a whole model on the CPU in process 0, None in the others; all must call it."""
    state = read_whole(sharded)
    if not PartialState().is_main_process:
        return None
    whole = copy.deepcopy(outline)
    whole.load_state_dict(state, assign=True)
    return whole


def create_ema(accelerator: Accelerator, model: nn.Module, decay: float) -> ModelEmaV3:
    """Returns timm's moving average of a model that is not yet prepared, sharded like it.

    It follows faster at first: else it would be the first weights for about 1 / (1 - decay) updates.
    """
    if not accelerator.is_fsdp2:
        return ModelEmaV3(model, decay=decay, use_warmup=True)
    ema = ShardedEma(model, decay=decay, use_warmup=True)
    fsdp2_prepare_model(accelerator, ema.module)
    return ema


class ShardedEma(ModelEmaV3):
    """A moving average whose weights are spread over the processes; saved and loaded whole."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns the whole average in process 0, nothing in the others; all must call it."""
        return read_whole(self.module)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over the whole average."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(self.module, state, options=StateDictOptions(full_state_dict=True))
