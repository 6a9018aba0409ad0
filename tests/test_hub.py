"""What is pushed to the Hugging Face hub: the folder, its card, and what arrives at a stand-in for the hub."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SMALL_DIGITS, compose_config, load_script, train_as_told
from hub_stand_in import TOKEN, stand_in
from huggingface_hub import ModelCard, constants
from PIL import Image

from multihot.decisions import Decisions
from multihot.errors import InputError
from multihot.export.bundle import ONNX_FILES, add_onnx, count_unknown, describe_start, write_model
from multihot.export.hub import push
from multihot.labels import LabelSpace
from multihot.run.folder import load_run

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub 2.4.0 of httpx
REPO, LICENSE = "someone/digits", "license=apache-2.0"
NAME = "vit_small_patch16_224"
PUSHED = {
    "README.md", "config.json", "model.safetensors", "decisions.json", "labels.json", "labels.csv", "handler.py",
    "requirements.txt", "selected_tags.csv", "thresholds.csv", "categories.json", "preprocess.json",
}  # fmt: skip


def push_to_hub(*overrides: str) -> None:
    """Runs scripts/push_to_hub.py in this process."""
    main = load_script("scripts/push_to_hub").main.__wrapped__
    main(compose_config("push_to_hub", list(overrides)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was evaluated on test."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a")
    evaluate = load_script("evaluate").main.__wrapped__
    evaluate(compose_config("evaluate", [f"run={folder}/a", "split=test", "resamples=20"]))
    return folder / "a"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "a"))


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub to which pushes of this process go."""
    with stand_in() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small folder to push."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\ntags:\n- multihot\n---\n")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


def test_what_arrives_at_the_hub_is_the_folder_of_a_dry_run(run, hub, tmp_path):
    out = tmp_path / "out"
    push_to_hub(f"run={run}", f"repo={REPO}", LICENSE, f"out={out}")
    assert {path.name for path in out.iterdir()} == PUSHED
    assert hub.calls == []
    push_to_hub(f"run={run}", f"repo={REPO}", LICENSE)
    arrived = hub.models[REPO]
    assert set(arrived) == PUSHED | {".gitattributes"}
    assert all(arrived[name] == (out / name).read_bytes() for name in PUSHED)
    assert hub.private[REPO]
    assert len(hub.commits) == 1
    assert "POST /verify" in hub.calls  # the weights went as a large file
    assert arrived["model.safetensors"] == (run / "best/model.safetensors").read_bytes()


def test_a_second_push_replaces_its_own_files_and_keeps_all_others(folder, hub):
    push(folder, REPO, private=True, overwrite=False)
    hub.models[REPO]["notes.txt"] = b"mine"
    (folder / "config.json").write_text('{"new": 1}')
    address = push(folder, REPO, private=True, overwrite=False)
    assert address == f"{hub.url}/{REPO}/commit/{hub.sha(REPO)}"
    assert hub.models[REPO]["notes.txt"] == b"mine"
    assert hub.models[REPO]["config.json"] == b'{"new": 1}'
    assert len(hub.commits) == 2


def test_files_of_others_are_replaced_only_when_told(folder, hub):
    hub.models[REPO], hub.private[REPO] = {"config.json": b"theirs", "a.txt": b""}, True
    with pytest.raises(InputError, match=r"overwrite=true[^\n]*\n  config\.json$"):
        push(folder, REPO, private=True, overwrite=False)
    assert hub.models[REPO]["config.json"] == b"theirs"
    push(folder, REPO, private=True, overwrite=True)
    assert hub.models[REPO]["config.json"] == b"{}"
    assert "a.txt" in hub.models[REPO]


def test_a_private_model_is_not_pushed_where_all_can_see_it(folder, hub):
    push(folder, REPO, private=False, overwrite=False)
    assert not hub.private[REPO]
    with pytest.raises(InputError, match="is public and private=true: private=false"):
        push(folder, REPO, private=True, overwrite=False)


def test_files_may_all_travel_in_the_commit(folder, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)  # the newer way up, which has nothing to do here
    hub.mode = "regular"
    push(folder, REPO, private=True, overwrite=False)
    assert hub.models[REPO]["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_large_files_go_the_newer_way_where_it_is_installed(folder, hub, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    (folder / "model.safetensors").write_bytes(np.random.default_rng(0).bytes(300_000))
    push(folder, REPO, private=True, overwrite=False)
    assert hub.models[REPO]["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert "POST /store/v1/shards" in hub.calls
    assert len(hub.commits) == 1


def test_a_hub_that_hangs_up_says_so(folder, hub):
    hub.hangs_up = True
    with pytest.raises(InputError, match=r"broke off.*the same command tries again"):
        push(folder, REPO, private=True, overwrite=False)


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "may not write someone/digits .*HF_TOKEN.*repo="), (429, "cannot take it now"), (503, "try again later")],
)
def test_a_refusal_says_what_to_do(folder, hub, monkeypatch, status, words):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.refusal = status
    with pytest.raises(InputError, match=words):
        push(folder, REPO, private=True, overwrite=False)
    assert hub.commits == []


def test_an_upload_that_breaks_off_says_so(folder, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.upload_status = 500
    with pytest.raises(InputError, match=r"broke off.*model.safetensors.*the same command tries again"):
        push(folder, REPO, private=True, overwrite=False)
    assert hub.commits == []


def test_a_wrong_token_says_how_to_log_in(folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match=r"refused the token.*hf auth login.*HF_TOKEN"):
        push(folder, REPO, private=True, overwrite=False)


def test_without_a_network_nothing_is_waited_for(folder, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"does not answer.*out=<folder>"):
        push(folder, REPO, private=True, overwrite=False)


def test_offline_says_that_it_is(folder, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        push(folder, REPO, private=True, overwrite=False)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("license=null", "license= is missing.*apache-2.0, mit"),
        ("repo=photos", "<user or organization>/<name>"),
        ("repo=some one/photos", "Repo id must"),
    ],
)
def test_a_license_and_a_whole_name_must_be_given(tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        push_to_hub(f"run={tmp_path}/none", f"repo={REPO}", LICENSE, override)


def test_a_folder_of_others_is_not_replaced(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/README.md").write_text("mine")
    with pytest.raises(InputError, match=r"out would be replaced[^\n]*\n  README\.md"):
        push_to_hub(f"run={run}", f"repo={REPO}", LICENSE, f"out={tmp_path}/out")


def test_without_test_scores_the_card_says_so(run, tmp_path, caplog):
    (run / "test/metrics.json").unlink()
    push_to_hub(f"run={run}", f"repo={REPO}", LICENSE, f"out={tmp_path}/out")
    assert f"python evaluate.py run={run} split=test" in caplog.text
    card = ModelCard.load(tmp_path / "out/README.md")
    assert "**There are no test scores.** The best epoch was chosen by the scores of val" in card.text
    assert card.data.eval_results is None


def test_the_card_has_the_scores_of_the_test_split(run, tmp_path):
    push_to_hub(f"run={run}", f"repo={REPO}", LICENSE, f"out={tmp_path}/out", "data_name=Scenes of digits")
    card = ModelCard.load(tmp_path / "out/README.md")
    metadata = card.data.to_dict()
    assert metadata["license"] == "apache-2.0"
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("timm", "image-classification")
    results = {one.metric_type: one.metric_value for one in card.data.eval_results}
    metrics = json.loads((run / "test/metrics.json").read_text())
    assert results == {name: metrics[name] for name in results}
    assert {"map", "micro_f1", "macro_f1"} <= set(results)
    low, high = metrics["intervals"]["map"]
    assert f"| `map` | {metrics['map']:.4f} | {low:.4f} to {high:.4f} |" in card.text
    assert "Scenes of digits: 50 images for train, 21 images for val, 23 images for test; 10 labels." in card.text


def test_an_onnx_file_of_this_very_model_goes_with_it(run, tmp_path, monkeypatch, caplog):
    opened, *_ = load_run(str(run), changes={})
    assert not add_onnx(tmp_path, opened)
    (run / "onnx").mkdir()
    for name in ONNX_FILES:
        (run / "onnx" / name).write_bytes(b"large")

    def refuse(run):
        raise InputError("it is of another model")

    monkeypatch.setattr("multihot.export.bundle.OnnxModel.of_run", refuse)
    assert not add_onnx(tmp_path, opened)
    assert "without the ONNX file: it is of another model" in caplog.text
    exported = SimpleNamespace(path=run / "onnx/model.onnx")
    monkeypatch.setattr("multihot.export.bundle.OnnxModel.of_run", lambda run: exported)
    assert add_onnx(tmp_path, opened)
    assert all((tmp_path / name).read_bytes() == b"large" for name in ONNX_FILES)


def test_every_snippet_of_the_card_runs(run, hub, tmp_path):
    push_to_hub(f"run={run}", f"repo={REPO}", LICENSE)
    text = hub.models[REPO]["README.md"].decode()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 4
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "picture.jpg")
    script = "\n".join(f"exec({snippet!r}, {{}})\nprint('ran {n}')" for n, snippet in enumerate(snippets))
    source = str(Path(__file__).parents[1] / "src")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": TOKEN, "PATH": "/usr/bin:/bin",
            "PYTHONPATH": source, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        },
    )  # fmt: skip
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran")]
    assert ran == [f"ran {number}" for number in range(len(snippets))], result.stderr


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            {"name": NAME, "pretrained": True, "weights": None},
            (f"timm/{NAME}.augreg_in21k_ft_in1k", f"the pretrained weights {NAME}", "apache-2.0"),
        ),
        (
            {"name": "hf-hub:some/vit", "pretrained": True, "weights": None},
            ("some/vit", "the pretrained weights of some/vit", None),
        ),
        (
            {"name": NAME, "pretrained": True, "weights": "/home/me/a.pth"},
            (None, "weights of the file a.pth", None),
        ),
        ({"name": NAME, "pretrained": False, "weights": None}, (None, "random weights", None)),
    ],
)
def test_only_a_base_model_that_is_known_is_named(model, expected):
    assert describe_start(model) == expected


def test_unknown_answers_are_counted(run):
    counts = json.loads((run / "train_counts.json").read_text())
    opened, *_ = load_run(str(run), changes={})
    assert count_unknown(opened, 10) == 0
    counts["num_known"][3] -= 7
    (run / "train_counts.json").write_text(json.dumps(counts))
    assert count_unknown(opened, 10) == 7


def test_a_head_that_is_stored_as_before_is_repaired_first(run, tmp_path):
    opened, *_ = load_run(str(run), changes={})
    config = json.loads((run / "best/config.json").read_text())
    config["head"] = {"_target_": "multihot.model.heads.CSRA"}
    (run / "best/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"python scripts/repair_run\.py run={run}$"):
        write_model(tmp_path, opened, Decisions.by_threshold(LabelSpace(("a", "b"))))
