"""FSDP2 by conf/accelerate/fsdp2.yaml: a sharded run has the numbers of a whole one, goes on, saves whole models."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import timm
import torch
from conftest import REPO, SMALL_DIGITS, run_script
from safetensors.torch import load_file
from test_processes import launch

from multihot.errors import InputError
from multihot.processes.fsdp import follow_fsdp
from multihot.seal import read_seal
from multihot.training.trained import Trained

FSDP = (
    sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"{REPO}/conf/accelerate/fsdp2.yaml",
    "--num_processes", "2", "--main_process_port", "0",
)  # fmt: skip
SETTINGS = (
    "epochs=2",
    "augment=light",
    "accumulate_steps=2",
    "ema.decay=0.9",
    "checkpoint.keep=3",
    "start=random",  # or all gradients of the backbone begin as rounding, which Adam scales to whole steps
    "optimizer.lr=0.1",
    "+optimizer.factory.eps=0.1",
)


def settings(folder, *arguments):
    return (*SMALL_DIGITS, f"runs_folder={folder}", *SETTINGS, "name=a", "batch_size=4", *arguments)


def launch_sharded(folder, *arguments):
    """Runs train.py in two processes that share one model, with the variables that `accelerate launch` sets."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "1")
        told, _, _ = _validate_launch_command(launch_command_parser().parse_args([*FSDP[3:], "train.py"]))
        variables = {name: value for name, value in prepare_multi_gpu_env(told).items() if name not in os.environ}
    ended = launch(folder / "log", 2, "train.py", *settings(folder, *arguments), **variables)
    assert ended.codes == [0, 0], ended.printed


def read_json(path):
    return json.loads(path.read_text())


def largest_difference(first, second):
    """Returns by how much two models differ at most."""
    one, two = (load_file(run / "best/model.safetensors") for run in (first, second))
    assert one.keys() == two.keys()
    return max((one[key] - two[key]).abs().max().item() for key in one)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """The folder of a run of two processes that share one model, started as a user does."""
    folder = tmp_path_factory.mktemp("sharded")
    result = run_script("train.py", *settings(folder), launcher=FSDP, ACCELERATE_USE_CPU="1")
    assert result.returncode == 0, result.stderr
    return folder / "a"


def test_a_sharded_run_has_the_numbers_of_a_whole_one(train, evaluate, tmp_path, sharded):
    assert (sharded / "last/pytorch_model_fsdp.bin").exists()
    train("name=whole", "batch_size=8", *SETTINGS)
    for row, whole in zip(read_json(sharded / "history.json"), read_json(tmp_path / "whole/history.json"), strict=True):
        assert row == pytest.approx(whole, abs=1e-5)
    assert largest_difference(sharded, tmp_path / "whole") < 1e-5
    scores = read_json(sharded / "val/metrics.json")
    evaluate(f"run={sharded}", "split=val")
    assert read_json(sharded / "val/metrics.json") == scores


def test_a_sharded_run_goes_on_as_if_nothing_had_happened(tmp_path, sharded):
    broken = shutil.copytree(sharded, tmp_path / "a")  # as a kill in the second epoch leaves it
    shutil.rmtree(broken / "last")
    (broken / "finished.json").unlink()
    assert read_seal(broken / "last.1")["epoch"] == 1
    launch_sharded(tmp_path)
    assert read_json(broken / "history.json") == read_json(sharded / "history.json")
    for name in ("pytorch_model_fsdp.bin", "custom_checkpoint_1.pkl"):  # weights, EMA
        one, two = (torch.load(run / "last" / name, weights_only=True) for run in (broken, sharded))
        assert len(one) > 20
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_low_rank_updates_are_merged_from_all_processes(train, tmp_path):
    lora = ("finetune=lora", "mixed_precision=bf16", "epochs=1", "optimizer.lr=0.01")
    launch_sharded(tmp_path, *lora)
    train("name=whole", "batch_size=8", *SETTINGS, *lora)
    assert largest_difference(tmp_path / "a", tmp_path / "whole") < 1e-3


def test_a_sharded_run_does_not_go_on_whole(train, tmp_path, sharded):
    shutil.copytree(sharded, tmp_path / "a")
    (tmp_path / "a/finished.json").unlink()
    with pytest.raises(InputError, match="began as FSDP and cannot go on as plain"):
        train("name=a", "batch_size=4", *SETTINGS)


def test_a_head_alone_is_not_sharded():
    model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=2)
    with pytest.raises(InputError, match="finetune=head trains the head alone"):
        Trained(SimpleNamespace(is_fsdp2=True), model, trains_backbone=False, space=None, head=None)


def test_fsdp_of_the_first_version_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(InputError, match="fsdp_version: 2"):
        follow_fsdp(SimpleNamespace(num_processes=2))


def test_the_files_for_accelerate_are_read_by_it():
    from accelerate.commands.config.config_args import load_config_from_file

    files = sorted((REPO / "conf/accelerate").glob("*.yaml"))
    assert files
    for path in files:
        assert load_config_from_file(str(path)).mixed_precision == "no"  # train.py has its own
