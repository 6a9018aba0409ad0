"""What several tests need: the scripts called as functions or as a user calls them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

REPO = Path(__file__).resolve().parents[1]
SMALL = [  # a run of seconds: no trial of kernels
    "batch_size=8",
    "epochs=1",
    "mixed_precision=no",
    "kernels=default",
    "num_workers=0",
    "tracker=none",
]
SMALL_MODEL = [*SMALL, "model.kwargs.depth=2", "model.weights=null"]
SMALL_DIGITS = [*SMALL_MODEL, "data.num_images={train:50,val:21,test:23}"]

torch.set_num_threads(1)  # tests run side by side


def compose_config(name: str, overrides: list[str]):
    """Returns the config of a script, and gives it to hydra as a running job has it."""
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose(name, overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def load_script(name: str):
    """Returns the module of a script in the top folder."""
    spec = importlib.util.spec_from_file_location(name, REPO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(tmp_path) -> Callable[..., float]:
    """train("name=a", "epochs=2"): runs train.py in this process, on a few scenes or other data, into tmp_path."""
    main = load_script("train").main.__wrapped__

    def run(*overrides: str) -> float:
        chosen = {override.partition("=")[0]: override for override in overrides}
        small = SMALL if "experiment" in chosen else SMALL_MODEL if "data" in chosen else SMALL_DIGITS
        return main(compose_config("train", [*small, f"runs_folder={tmp_path}", *overrides]))

    return run


@pytest.fixture
def evaluate() -> Callable[..., None]:
    """evaluate("run=...", "split=test"): runs evaluate.py in this process."""
    main = load_script("evaluate").main.__wrapped__
    return lambda *overrides: main(compose_config("evaluate", list(overrides)))


def run_script(*arguments: str, launcher: tuple[str, ...] = (sys.executable,), **environment: str | None):
    """Runs a script in a process of its own, in the top folder, and returns what it printed; None unsets a variable."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [*launcher, *arguments], cwd=REPO, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
