"""A training under DeepSpeed is the training without it, and settings that do not go together are refused."""

import importlib.util
import json
import sys

import pytest
import torch
from conftest import SMALL_DIGITS, run_script
from safetensors.torch import load_file

from multihot.errors import InputError
from multihot.processes.zero import check_config

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
CONFIG = ("--config_file=conf/accelerate/deepspeed.yaml", "--num_processes=2", "--main_process_port=0")
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", *CONFIG)
CHANGES = ("epochs=2", "accumulate_steps=2", "clip_norm=0.1", "optimizer.layer_decay=0.75", "ema.decay=0.9")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"zero_optimization": {"stage": 3}}, "zero_stage"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, "offload_optimizer"),
        ({"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 4}, "accumulate_steps"),
        ({"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5}, "clip_norm"),
        ({"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}, "bf16"),
    ],
)
def test_settings_of_deepspeed_that_train_py_has_itself_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        check_config(config)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed")
@pytest.mark.parametrize("stage", [1, 2])
def test_zero_gives_the_weights_of_plain_processes(tmp_path, stage):
    arguments = ("train.py", *SMALL_DIGITS, *CHANGES, f"runs_folder={tmp_path}")
    plain = run_script(*arguments, "name=plain", launcher=TORCHRUN, ACCELERATE_USE_CPU="1")
    assert plain.returncode == 0, plain.stderr
    launcher = (*ACCELERATE, f"--zero_stage={stage}")
    zero = run_script(*arguments, "name=zero", launcher=launcher, DS_ACCELERATOR="cpu")
    assert zero.returncode == 0, zero.stderr
    assert len(list((tmp_path / "zero/last").glob("*/*_optim_states.pt"))) == 2  # divided among two processes
    expected, weights = (load_file(tmp_path / name / "best/model.safetensors") for name in ("plain", "zero"))
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
    first, second = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("plain", "zero"))
    assert [row["val/loss"] for row in second] == pytest.approx([row["val/loss"] for row in first], abs=1e-6)
