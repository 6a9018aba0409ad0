"""What `_target_` may name."""

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import SMALL_DIGITS, compose_config, train_as_told
from hydra.utils import instantiate
from omegaconf import OmegaConf

from multihot.errors import InputError
from multihot.known_classes import check_targets, create, is_known

CONF = Path(__file__).resolve().parents[1] / "conf"
SECTIONS = ("data", "head", "start", "loss", "optimizer", "schedule", "augment", "finetune")
CALLS = {"_target_": "os.mkdir", "path": "made"}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A run folder."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", "epochs=0")
    return folder / "a"


@pytest.mark.parametrize(
    "file", [path for name in SECTIONS for path in sorted((CONF / name).glob("*.yaml"))], ids=lambda path: path.stem
)
def test_everything_in_conf_is_known(file):
    content = yaml.safe_load(file.read_text())
    part = {} if "finetune" in content else {file.parent.name: content}  # lp_ft is of several parts
    check_targets(part or content)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("data", "os.mkdir"),
        ("data", "multihot.data.readers.csv_file.open"),
        ("data", "multihot.data.readers.tar_index.os.mkdir"),
        ("data", "multihot.data.readers.tar_index.save_index"),  # ours, and it writes
        ("data", "multihot.files.remove_folder"),
        ("data", "multihot.data.readers.digits.Path"),  # defined elsewhere
        ("data", ["os.mkdir"]),
        ("data", None),
        ("loss.function", "torch.load"),
        ("loss.function", "torch.nn.functional.relu"),
        ("loss.function", "builtins.eval"),
        ("loss.function", "hydra.utils.get_method"),
        ("loss.function", "torch.nn.NoSuchLoss"),
        ("optimizer.factory", "multihot.loss.FocalLoss"),
        ("augment", "timm.data.create_loader"),
        ("finetune", "multihot.model.finetune.merge_lora"),
    ],
)
def test_other_names_are_refused(place, target):
    with pytest.raises(InputError, match=rf"^{place}\._target_=.*: this names a class of"):
        check_targets({"_target_": target, "_partial_": True}, place)


@pytest.mark.parametrize("place", ["data.root", "data.groups.0", "loss", "model.kwargs.norm_layer", "hydra", "seed"])
def test_nothing_is_called_elsewhere(place):
    with pytest.raises(InputError, match=rf"^{place}\._target_=os.mkdir: only data, head.layer, "):
        check_targets(CALLS, place)


def test_a_name_is_checked_as_it_is_resolved(monkeypatch):
    monkeypatch.setenv("NAME", "os.mkdir")
    cfg = OmegaConf.create({"loss": {"function": "${hidden}"}, "hidden": {"_target_": "${oc.env:NAME}"}})
    with pytest.raises(InputError, match=r"loss\.function\._target_=os\.mkdir"):
        check_targets(cfg)
    with pytest.raises(InputError, match=r"loss\.function\._target_=os\.mkdir"):
        create("loss", cfg.loss)


def test_what_is_known_is_built():
    settings = {"function": {"_target_": "torch.nn.BCEWithLogitsLoss"}}
    assert type(create("loss", settings)["function"]) is type(instantiate(settings)["function"])
    assert is_known("timm.data.create_transform", "timm.data.")
    assert create("head.layer", None) is None


@pytest.mark.parametrize("place", ["data", "data.root", "loss.function", "head.layer", "finetune", "optimizer.factory"])
def test_a_run_folder_calls_nothing(done, train, evaluate, tmp_path, monkeypatch, place):
    run = Path(shutil.copytree(done, tmp_path / "a"))
    cfg = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(cfg, place, {**CALLS, "path": str(tmp_path / "made")}, merge=False)
    OmegaConf.save(cfg, run / "config.yaml")
    with pytest.raises(InputError, match=rf"^{place}\._target_=os.mkdir"):
        evaluate(f"run={run}")
    assert not (tmp_path / "made").exists()


def test_the_head_of_a_saved_model_calls_nothing(done, evaluate, tmp_path):
    run = Path(shutil.copytree(done, tmp_path / "a"))
    config = run / "best/config.json"
    config.write_text(
        config.read_text().replace('"head": null', f'"head": {{"_target_": "os.mkdir", "path": "{run}/x"}}')
    )
    (run / "best/seal.json").unlink()
    with pytest.raises(InputError, match=r"head\.layer\._target_=os\.mkdir"):
        evaluate(f"run={run}")
    assert not (run / "x").exists()


def test_train_checks_all_before_anything_is_made(train, tmp_path):
    with pytest.raises(InputError, match=r"schedule\.factory\._target_=os\.mkdir"):
        train("name=a", "schedule.factory._target_=os.mkdir")
    assert not list(tmp_path.iterdir())
    assert compose_config("train", []).schedule.factory._target_.startswith("timm.scheduler.")
