"""What several tests need: the scripts called as functions or as a user calls them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; OMP_NUM_THREADS=2 make test must pass too

import importlib.util
import logging
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compose_once import patch_hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
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
    "report=false",
    "decisions=none",
]
SMALL_MODEL = [*SMALL, "model.kwargs.depth=2", "model.weights=null"]
SMALL_DIGITS = [*SMALL_MODEL, "data.num_images={train:50,val:21,test:23}"]


def pytest_collection_modifyitems(config, items):
    """Lets the workers of `make test` begin with the files that start processes, which take longest."""
    starters = {"run_script", "launch", "begin", "subprocess"}
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: starters.isdisjoint(dir(getattr(item, "module", None))))


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Lets hydra compose from what it has read before: a third of the time, of a small training a quarter."""
    with pytest.MonkeyPatch.context() as patch:
        patch_hydra(patch)
        yield


def compose_config(name: str, overrides: list[str]):
    """Returns the config of a script, and gives it to hydra as a running job has it."""
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose(name, overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def load_script(name: str):
    """Returns the module of a script, named from the top folder; it finds what is beside it."""
    path = REPO / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        spec.loader.exec_module(module)
    return module


def train_as_told(*overrides: str) -> float:
    """Runs train.py in this process with these overrides alone."""
    return load_script("train").main.__wrapped__(compose_config("train", list(overrides)))


@pytest.fixture
def train(tmp_path) -> Callable[..., float]:
    """train("name=a", "epochs=2"): runs train.py in this process, on a few scenes or other data, into tmp_path."""

    def run(*overrides: str) -> float:
        chosen = {override.partition("=")[0]: override for override in overrides}
        small = SMALL if "experiment" in chosen else SMALL_MODEL if "data" in chosen else SMALL_DIGITS
        return train_as_told(*small, f"runs_folder={tmp_path}", *overrides)

    return run


def save_every(monkeypatch: pytest.MonkeyPatch, num_updates: int) -> None:
    """Lets trainings save by their updates, not by a clock."""
    monkeypatch.setattr("multihot.run.checkpoint.Checkpoints.is_due", lambda self: self.state.update % num_updates == 0)


@pytest.fixture
def evaluate() -> Callable[..., None]:
    """evaluate("run=...", "split=test"): runs evaluate.py in this process."""
    main = load_script("evaluate").main.__wrapped__

    def run(*overrides: str) -> None:
        main(compose_config("evaluate", ["resamples=0", *overrides]))

    return run


def run_here(script: str, *arguments: str) -> None:
    """Runs a script in this process as if a user had started it, and leaves the process as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPO)
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "0")  # the script sets it; what is set here is taken back
        try:
            GlobalHydra.instance().clear()
            runpy.run_path(script, run_name="__main__")
        finally:
            GlobalHydra.instance().clear()
            root.handlers[:] = handlers
            root.setLevel(level)


@pytest.fixture
def call_script(capfd) -> Callable[..., subprocess.CompletedProcess]:
    """call_script("train.py", "-m", ...): what `run_script` does and returns, without a process and its imports."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        code = 0
        capfd.readouterr()
        try:
            run_here(*arguments)
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return call


def run_script(*arguments: str, launcher: tuple[str, ...] = (sys.executable,), **environment: str | None):
    """Runs a script in a process of its own, in the top folder, and returns what it printed; None unsets a variable."""
    environment = {**os.environ, "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [*launcher, *arguments], cwd=REPO, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="session")
def browser():
    """Returns a real Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """visit(file, width=1280): the page in a tab of its own; that nothing went wrong in it is checked at the end."""
    faults, tabs = [], []

    def open_tab(file, width=1280, **settings):
        tab = browser.new_page(viewport={"width": width, "height": 900}, **settings)
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        tab.goto(file.as_uri())
        tab.wait_for_selector("body[data-ready]")
        tabs.append(tab)
        return tab

    yield open_tab
    for tab in tabs:
        tab.close()
    assert faults == []
