import re
from pathlib import Path

import pytest
from conftest import REPO, compose_config, run_script
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf
from timm.data import resolve_data_config

from multihot.data import create_reader

GROUPS = (
    "data", "model", "head", "finetune", "loss", "optimizer", "schedule", "augment", "tracker", "experiment", "debug",
)  # fmt: skip
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((REPO / "conf" / group).glob("*.yaml"))]
NEEDED = {
    ("data", "csv"): ["data.path=x.csv"],
    ("data", "jsonl"): ["data.path=x.jsonl"],
    ("data", "parquet"): ["data.path=x.parquet"],
    ("data", "hf"): ["data.path=x"],
    ("data", "webdataset"): ["data.path=x.tar"],
    ("data", "coco"): ["data.path=x.json"],
    ("data", "voc"): ["data.path=x"],
    ("data", "folder"): ["data.path=x"],
    ("data", "openimages"): ["data.path=x.csv", "data.classes_path=c.csv"],
    ("data", "chexpert"): ["data.path=x.csv"],
    ("experiment", "coco2014"): ["data.path=x.json"],
    ("experiment", "voc2007"): ["data.path=x"],
    ("experiment", "nuswide"): ["data.path=x.csv"],
    ("experiment", "openimages"): ["data.path=x.csv", "data.classes_path=c.csv"],
    ("experiment", "chexpert"): ["data.path=x.csv"],
    ("experiment", "photos"): ["data.path=x.csv"],
    ("experiment", "compare_photos"): ["data.path=x.csv"],
}


def test_every_folder_of_conf_is_a_known_group():
    assert {folder.name for folder in (REPO / "conf").iterdir() if folder.is_dir()} == {*GROUPS, "hydra", "accelerate"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group, option):
    cfg = compose_config("train", [f"{group}={option}", *NEEDED.get((group, option), [])])
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    create_reader(cfg.data)
    for part in ("head", "finetune", "loss", "optimizer", "schedule"):
        instantiate(cfg[part])
    transform = instantiate(cfg.augment)(**resolve_data_config({}, pretrained_cfg={"input_size": (3, 32, 32)}))
    assert callable(transform)


def test_experiments_override_groups():
    cfg = compose_config("train", ["experiment=photos", "data.path=x.csv"])
    assert cfg.data.separator == " "
    assert cfg.optimizer.layer_decay == 0.8
    assert cfg.head.start == "fit"
    assert HydraConfig.get().runtime.choices["augment"] == "light"
    cfg = compose_config("train", ["experiment=photos", "data.path=x.csv", "augment=none", "optimizer.lr=1"])
    assert (HydraConfig.get().runtime.choices["augment"], cfg.optimizer.lr) == ("none", 1)


def test_every_setting_has_its_unit_or_choices_beside_it():
    lines = (REPO / "conf/train.yaml").read_text().split("\nhydra:")[0].splitlines()
    settings = [line for line in lines if re.match(r"\s*\w+: \S", line) and not line.strip().startswith("- ")]
    self_explaining = ("seed", "epochs", "runs_folder")
    assert [line for line in settings if "#" not in line and line.split(":")[0] not in self_explaining] == []


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_help_explains_every_top_level_setting(script):
    output = run_script(f"{script}.py", "--help").stdout
    settings = [key for key in compose_config(script, []) if key not in GROUPS or key == "data"]
    assert [key for key in settings if not re.search(rf"^ +{key}\b", output, re.MULTILINE)] == []
    if script == "train":
        assert all(re.search(rf"^{group}: .*{option}", output, re.MULTILINE) for group, option in OPTIONS)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epohcs=3", ["epochs", "Did you mean epochs?"]),
        ("optimizer.lrr=1", ["settings of optimizer are:", "Did you mean lr?"]),
        ("loss=bcee", ["asymmetric", "bce", "cross_entropy"]),
        ("data=csv", ["data.path"]),
        ("kernels=fast", ["unfused-highest"]),
        ("monitor=val/mapp", ["val/map", "val/micro_f1"]),
        ("head.start=zero", ["prior", "by_name", "fit", "keep", "random"]),
        ("head=mldecoder", ["csra", "linear", "ml_decoder", "query2label", "two_logit"]),
        ("activation=softmax", ["one probability", "data.groups", "activation=sigmoid"]),
        ("loss.unknown.strategy=positive", ["ignore", "large_loss_rejection"]),
        ("loss.pos_weight=-1", ["pos_weight"]),
        ("ema.evaluate=both", ["instead", "beside"]),
    ],
)
def test_a_mistyped_setting_fails_listing_the_choices(call_script, override, words, tmp_path):
    fast = ("debug=fast", "tracker=none", "mixed_precision=no", "model.weights=null", "batch_size=2")
    defaults = () if override.startswith("kernels") else ("kernels=default",)
    result = call_script("train.py", *fast, *defaults, override, f"runs_folder={tmp_path}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words), result.stderr


def test_the_readme_shows_every_folder_and_module():
    readme = Path(REPO / "README.md").read_text()
    modules = [path.name for path in (REPO / "src/multihot").glob("[!_]*") if path.suffix in ("", ".py")]
    assert [
        name for name in [*modules, "conf", "scripts", "tests", "train.py", "evaluate.py"] if name not in readme
    ] == []
