import json
import re
from pathlib import Path

import pytest
from conftest import REPO, compose_config, run_script
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf
from timm.data import resolve_data_config

from multihot.data import create_reader, loader
from multihot.labels import LabelSpace
from multihot.loss import check_loss, create_loss
from multihot.model.create import check_name
from multihot.settings.check import FINITE, Refused, check_settings, walk
from multihot.settings.kinds import PATH
from multihot.settings.saved import with_absolute_paths
from multihot.settings.table import DATA, SCRIPTS

GROUPS = (
    "data", "model", "head", "start", "finetune", "loss", "optimizer", "schedule", "augment", "tracker",
    "decisions", "experiment", "debug",
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
    ("data", "label_studio"): ["data.path=x.csv"],
    ("data", "fiftyone"): ["data.path=x"],
    ("data", "v7"): ["data.path=x"],
    ("data", "supervisely"): ["data.path=x"],
    ("data", "via"): ["data.path=x.json"],
    ("data", "labelme"): ["data.path=x"],
    ("data", "sidecar"): ["data.path=x"],
    ("data", "ground_truth"): ["data.path=x.manifest"],
    ("data", "vertex"): ["data.path=x.jsonl"],
    ("data", "azure_ml"): ["data.path=x.jsonl"],
    ("data", "roboflow"): ["data.path=x/_classes.csv"],
    ("data", "labelbox"): ["data.path=x.ndjson"],
    ("data", "celeba"): ["data.path=x.txt", "data.split_lists=null"],
    ("data", "chestxray14"): ["data.path=x.csv", "data.split_lists=null"],
    ("data", "mimic_cxr"): ["data.path=x.csv", "data.join_path=y.csv"],
    ("data", "padchest"): ["data.path=x.csv"],
    ("data", "vindr_cxr"): ["data.path=x.csv"],
    ("data", "rsna_ich"): ["data.path=x.csv"],
    ("data", "planet"): ["data.path=x.csv"],
    ("data", "isic"): ["data.path=x.csv"],
    ("data", "nuswide"): ["data.path=x.csv"],
    ("data", "vg500"): ["data.path=x.json", "data.split_lists=null"],
    ("data", "pa100k"): ["data.path=x.mat"],
    ("data", "cvat"): ["data.path=x.xml"],
    ("data", "datumaro"): ["data.path=x"],
    ("loss", "cross_entropy"): ["single_label=true"],
    ("experiment", "coco2014"): ["data.path=x.json"],
    ("experiment", "voc2007"): ["data.path=x"],
    ("experiment", "nuswide"): ["data.path=x.csv"],
    ("experiment", "openimages"): ["data.path=x.csv", "data.classes_path=c.csv"],
    ("experiment", "chexpert"): ["data.path=x.csv"],
    ("experiment", "photos"): ["data.path=x.csv"],
    ("experiment", "compare_photos"): ["data.path=x.csv"],
}

HELPED = [
    "train",
    "evaluate",
    "export_onnx",
    "repair_run",
    "report",
    "serve",
    "validate_data",
    "find_label_errors",
]  # scripts whose help says of a setting what stands beside it


def test_every_folder_of_conf_is_a_known_group():
    assert {folder.name for folder in (REPO / "conf").iterdir() if folder.is_dir()} == {*GROUPS, "hydra", "accelerate"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group, option):
    cfg = compose_config("train", [f"{group}={option}", *NEEDED.get((group, option), [])])
    assert_every_setting_has_an_entry(cfg, "train")
    create_reader(cfg.data)
    check_name(cfg.model.name)
    space = LabelSpace.single_label(("cat", "dog")) if cfg.single_label else LabelSpace(("cat", "dog"))
    counts = {"label_count": [2, 5], "num_known": [9, 10], "num_images": 10}
    check_loss(create_loss(**instantiate(cfg.loss, _convert_="all"), space=space, **counts))
    for part in ("head", "start", "finetune", "optimizer", "schedule"):
        instantiate(cfg[part])
    instantiate(cfg.decisions.aim)
    preprocessing = resolve_data_config({}, pretrained_cfg={"input_size": (3, 32, 32)})
    transform, _ = loader.create_steps(instantiate(cfg.augment), preprocessing)
    assert callable(transform)


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in OPTIONS if "???" in (REPO / "conf/{}/{}.yaml".format(*pair)).read_text()]
)
def test_settings_that_must_be_given_are_asked_for(group, option):
    own = OmegaConf.to_container(OmegaConf.load(REPO / f"conf/{group}/{option}.yaml"))
    needed = {f"{group}.{name}" for name, value in own.items() if value == "???"}
    assert needed <= OmegaConf.missing_keys(compose_config("train", [f"{group}={option}"]))


def assert_every_setting_has_an_entry(cfg, script):
    """Fails for a setting in conf/ that src/multihot/settings/table.py does not know, or whose default it refuses."""
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=script == "train")
    kinds = {key: kind for key, _, kind in walk(settings, SCRIPTS[script])}
    missing = [key for key, kind in kinds.items() if kind is FINITE or isinstance(kind, Refused)]
    add = "add a line for each of them to src/multihot/settings/table.py: to DATA or TRAIN, or its class to TARGETS"
    assert not missing, f"{', '.join(missing)}: {add}"
    check_settings(cfg, script)


@pytest.mark.parametrize(
    ("script", "needed"),
    [
        ("evaluate", ["run=runs/a"]),
        ("repair_run", ["run=runs/a"]),
        ("report", ["run=runs/a"]),
        ("export_onnx", ["run=runs/a"]),
        ("find_label_errors", ["run=runs/a"]),
        ("serve", ["run=runs/a"]),
        ("validate_data", ["data.path=x.csv"]),
        ("split_data", ["data.path=x.csv", "out=y.csv", "num_folds=5"]),
        ("benchmark", []),
    ],
)
def test_every_setting_of_a_script_has_an_entry(script, needed):
    assert_every_setting_has_an_entry(compose_config(script, needed), script)


def test_a_run_keeps_every_path_of_its_data_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [name.removeprefix("data.") for name, kind in DATA.items() if kind.words.startswith(PATH.words)]
    cfg = OmegaConf.create({"data": dict.fromkeys(paths, "more/file"), "model": {"weights": None}})
    kept = {name for name, path in with_absolute_paths(cfg).data.items() if path == f"{tmp_path}/more/file"}
    assert {*paths} - kept == set()


def test_experiments_override_groups():
    cfg = compose_config("train", ["experiment=photos", "data.path=x.csv"])
    assert cfg.data.separator == " "
    assert cfg.optimizer.layer_decay == 0.8
    assert cfg.start._target_ == "multihot.model.start.Fit"
    assert HydraConfig.get().runtime.choices["augment"] == "light"
    cfg = compose_config("train", ["experiment=photos", "data.path=x.csv", "augment=none", "optimizer.lr=1"])
    assert (HydraConfig.get().runtime.choices["augment"], cfg.optimizer.lr) == ("none", 1)


def read_comments(name):
    """Returns what stands beside each setting of conf/<name>.yaml, by dotted name; empty if nothing does."""
    comments, parents = {}, []
    for line in (REPO / f"conf/{name}.yaml").read_text().split("\nhydra:")[0].splitlines():
        setting = re.match(r"( *)(\w+):(?:[^#]*# (.*))?", line)
        if setting and setting[2] != "defaults":
            parents = [*parents[: len(setting[1]) // 2], setting[2]]
            comments[".".join(parents)] = setting[3] or ""
    return comments


def read_help(name):
    """Returns what the help of a script says of each setting; lines that go on are joined."""
    template = OmegaConf.load(REPO / f"conf/hydra/help/{name}.yaml")._get_node("template")._value()
    settings = re.findall(r"^ {2}(\w[\w.]*) {2,}(\S.*(?:\n {10,}\S.*)*)", template, re.MULTILINE)
    return {setting: " ".join(text.split()) for setting, text in settings}


@pytest.mark.parametrize("name", HELPED)
def test_every_setting_has_its_unit_or_choices_beside_it(name):
    comments = read_comments(name)
    inside = {key.rpartition(".")[0] for key in comments}
    assert [key for key, comment in comments.items() if not comment and key not in inside] == []


@pytest.mark.parametrize("name", HELPED)
def test_help_says_of_a_setting_what_stands_beside_it(name):
    said = read_help(name)
    assert said == {setting: read_comments(name)[setting] for setting in said}
    assert name == "train" or {*said} | {"data"} == {*compose_config(name, [])} | {"data"}


def test_help_shows_the_main_settings_and_every_option_of_every_group():
    output = run_script("train.py", "--help").stdout
    assert {"name", "epochs", "batch_size", "resume", "monitor"} <= read_help("train").keys()
    assert all(re.search(rf"^  {setting} ", output, re.MULTILINE) for setting in read_help("train"))
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
        ("head.start=fit", ["head.start is now start=<option>, one of random, prior"]),
        ("data.feature_cache=a", ["data.feature_cache is now data.cache_folder"]),
        ("start.grow=true", ["setting of another option of start"]),
        ("ema.warmup=false", ["no setting any more: leave it out, which is what true was"]),
        ("start=zero", ["prior", "by_name", "fit", "keep", "random"]),
        ("head=mldecoder", ["csra", "linear", "ml_decoder", "query2label", "two_logit"]),
        ("activation=softmax", ["one probability", "data.groups", "activation=sigmoid"]),
        ("loss.unknown.strategy=positive", ["ignore", "weak_negative"]),
        ("loss.pos_weight=-1", ["pos_weight"]),
    ],
)
def test_a_mistyped_setting_fails_listing_the_choices(call_script, override, words, tmp_path):
    fast = ("debug=fast", "tracker=none", "mixed_precision=no", "model.weights=null", "batch_size=2")
    defaults = () if override.startswith("kernels") else ("kernels=default",)
    result = call_script("train.py", *fast, *defaults, override, f"runs_folder={tmp_path}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words), result.stderr


def test_evaluation_in_another_batch_size_gives_the_same_scores(train, evaluate, tmp_path, monkeypatch):
    sizes, create = [], loader.create_evaluation_batches
    train("name=a", "batch_size=8")
    scores = json.loads((tmp_path / "a/val/metrics.json").read_text())
    monkeypatch.setattr(
        loader,
        "create_evaluation_batches",
        lambda data, **settings: sizes.append(settings["batch_size"]) or create(data, **settings),
    )
    for setting in ("batch_size=3", "batch_size=null"):
        evaluate(f"run={tmp_path}/a", "predict=again", setting)
        assert json.loads((tmp_path / "a/val/metrics.json").read_text()) == pytest.approx(scores, rel=1e-5)
    assert sizes == [3, 8]


def test_the_readme_shows_every_folder_and_module():
    readme = Path(REPO / "README.md").read_text()
    modules = [path.name for path in (REPO / "src/multihot").glob("[!_]*") if path.suffix in ("", ".py")]
    assert [
        name for name in [*modules, "conf", "scripts", "tests", "train.py", "evaluate.py"] if name not in readme
    ] == []
