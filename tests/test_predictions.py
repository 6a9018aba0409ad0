"""Predictions of any size: the same scores in any blocks and shares; saved ones are used where nothing has changed."""

import errno
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL_MODEL, run_script, train_as_told
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.evaluation.predictions import ORIGIN, Predictions, Share, create_predictions
from multihot.evaluation.scores import evaluate, mean_loss
from multihot.labels import Group, LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss
from multihot.metrics import SCORES, blocks
from multihot.metrics.collection import create_metrics
from multihot.seal import read_seal

NUM_IMAGES, NUM_LABELS = 700, 24
LABELS = tuple(f"label {number}" for number in range(NUM_LABELS))
GROUPS = (Group("colour", LABELS[3:9], none=True), Group("size", (LABELS[20], LABELS[1])))
SPACES = {
    "independent": LabelSpace(LABELS),
    "groups": LabelSpace(LABELS, GROUPS),
    "single label": LabelSpace.single_label(LABELS),
}


def draw(space: LabelSpace, *, is_soft: bool) -> tuple[np.ndarray, Manifest]:
    """Returns logits with ties, and a split with unknown answers, an absent label and an image without any answer."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(NUM_IMAGES, NUM_LABELS)).round(1).astype(np.float32)
    target = (rng.random(logits.shape) < 0.2).astype(np.float32 if is_soft else np.int8)
    if is_soft:
        target[rng.random(logits.shape) < 0.1] = 0.25
        target[rng.random(logits.shape) < 0.1] = 0.5
    for columns in space.columns:
        target[:, columns] = np.eye(len(columns))[rng.integers(len(columns), size=NUM_IMAGES)]
    target[rng.random(logits.shape) < 0.1] = -1
    target[:, 2], target[5] = 0, -1
    return logits, Manifest(space.labels, [f"{row}.jpg" for row in range(NUM_IMAGES)], csr_array(target))


def save(folder: Path, logits: np.ndarray, data: Manifest, num_shares: int = 1) -> None:
    """Writes the logits as so many processes do, in turn; half of the batches have their rows in no order."""
    folder.mkdir()
    create_predictions(folder, data, way_out="")
    shares = [Share(folder) for _ in range(num_shares)]
    order = np.arange(NUM_IMAGES)
    order[350:] = np.random.default_rng(1).permutation(order[350:])
    for number, rows in enumerate(np.array_split(order, 90)):
        shares[number % num_shares].write(rows, logits[rows])
    for share in shares:
        share.file.close()
    assert (sum(share.counts for share in shares) == 1).all()


def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets blocks be of 96 images, and five labels be ranked at a time."""
    monkeypatch.setattr(blocks, "ENTRIES_IN_CHUNK", 3 * NUM_LABELS)
    monkeypatch.setattr(blocks, "ENTRIES_IN_BLOCK", 1)
    monkeypatch.setattr("multihot.evaluation.scores.LOSS_ENTRIES", 1)
    monkeypatch.setattr(blocks, "ENTRIES_OF_LABELS", 5 * NUM_IMAGES)


@pytest.mark.parametrize("is_soft", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_scores_are_the_same_to_the_last_digit_in_any_blocks_and_shares(tmp_path, monkeypatch, name, is_soft):
    space = SPACES[name]
    logits, data = draw(space, is_soft=is_soft)
    thresholds = [None] if space.is_single_label else [None, 0.4, np.linspace(0.2, 0.8, NUM_LABELS).tolist()]
    whole = Predictions(torch.from_numpy(logits), torch.from_numpy(data.dense_targets()), space)
    monkeypatch.setattr(blocks, "ENTRIES_IN_CHUNK", 3 * NUM_LABELS)
    assert len(list(whole.blocks())) == len(list(whole.label_chunks(space))) == 1
    expected = [repr(evaluate(whole, threshold)) for threshold in thresholds]
    assert all("nan" in evaluation for evaluation in expected)  # of the absent label
    in_small_blocks(monkeypatch)
    for num_shares in (1, 2, 3):
        save(tmp_path / str(num_shares), logits, data, num_shares)
        saved = Predictions.load(tmp_path / str(num_shares), space)
        assert torch.equal(saved.logits, whole.logits)
        assert torch.equal(saved.target, whole.target)
        assert len(list(saved.blocks())) == math.ceil(NUM_IMAGES / 96)
        assert len(list(saved.label_chunks(space))) == 5
        assert [repr(evaluate(saved, threshold)) for threshold in thresholds] == expected


def test_the_classes_of_torchmetrics_give_the_same_digits(monkeypatch):
    space = SPACES["groups"]
    logits, data = draw(space, is_soft=False)
    predictions = Predictions(torch.from_numpy(logits), torch.from_numpy(data.dense_targets()), space)
    in_small_blocks(monkeypatch)
    scores, metrics = evaluate(predictions).scores, create_metrics(space)
    metrics.update(predictions.logits, predictions.target)
    computed = metrics.compute()
    assert [computed[name].item() for name in SCORES] == [scores[name] for name in SCORES]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("is_soft", [False, True])
def test_the_loss_of_blocks_is_that_of_all(tmp_path, monkeypatch, reduction, is_soft):
    space = SPACES["groups"]
    logits, data = draw(space, is_soft=is_soft)
    save(tmp_path / "a", logits, data)
    predictions = Predictions.load(tmp_path / "a", space)
    loss = MultiLabelLoss(BinaryCrossEntropy(), space, reduction=reduction)
    expected = mean_loss(loss, predictions)
    in_small_blocks(monkeypatch)
    assert len(list(predictions.blocks())) > 1
    assert mean_loss(loss, predictions) == pytest.approx(expected, rel=1e-6)


def test_a_logit_that_is_not_finite_is_named_by_its_row(monkeypatch):
    in_small_blocks(monkeypatch)
    logits = torch.zeros(NUM_IMAGES, NUM_LABELS)
    logits[650, 7] = math.nan
    with pytest.raises(InputError, match=r"logits\[650, 7\] is nan"):
        evaluate(Predictions(logits, torch.zeros(NUM_IMAGES, NUM_LABELS, dtype=torch.int8), SPACES["independent"]))


# The file


@pytest.mark.parametrize("is_soft", [False, True])
def test_the_file_is_the_one_that_safetensors_writes(tmp_path, is_soft):
    logits, data = draw(SPACES["independent"], is_soft=is_soft)
    save(tmp_path / "a", logits, data, num_shares=2)
    tensors = {"logits": torch.from_numpy(logits), "target": torch.from_numpy(data.dense_targets())}
    save_file(tensors, tmp_path / "expected.safetensors")
    assert (tmp_path / "a/predictions.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def test_a_folder_of_before_is_read(tmp_path):
    logits, data = draw(SPACES["groups"], is_soft=True)
    save(tmp_path / "a", logits, data)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"predictions.safetensors", "images.json"}
    assert Predictions.load(tmp_path / "a").space is None
    assert Predictions.load(tmp_path / "a", SPACES["groups"]).space == SPACES["groups"]
    assert Predictions.load(tmp_path / "a").images == list(data.images)


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "gone", "images"])
def test_damaged_predictions_are_named(tmp_path, damage):
    logits, data = draw(SPACES["independent"], is_soft=False)
    save(tmp_path / "a", logits, data)
    path = tmp_path / "a/predictions.safetensors"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "images":
        (tmp_path / "a/images.json").write_text('["0.jpg"]')
    else:
        path.write_bytes({"cut": content[:-1], "header": b"\xff" * 8 + content[8:], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"is damaged \("):
        Predictions.load(tmp_path / "a")


def test_a_disk_without_space_is_said_before_anything_is_predicted(tmp_path, monkeypatch):
    _, data = draw(SPACES["independent"], is_soft=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(InputError, match=r"the predictions take 0.0 GB and .* has 0.0 GB free: make space"):
        create_predictions(tmp_path, data, way_out="make space")
    assert not list(tmp_path.iterdir())


# What is used again


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run `a` on drawn images, in `photos`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "photos").mkdir()
    rows = ["image,split,labels"]
    rng = np.random.default_rng(0)
    for number in range(24):
        Image.fromarray(rng.integers(256, size=(36, 36, 3), dtype=np.uint8)).save(folder / f"photos/{number}.png")
        rows.append(f"{number}.png,{'val' if number % 3 == 0 else 'train'},{'cat' if number % 2 else 'dog'}")
    (folder / "photos/all.csv").write_text("\n".join(rows))
    train_as_told(*SMALL_MODEL, f"runs_folder={folder}", "name=a", "data=csv", f"data.path={folder}/photos/all.csv")
    return folder


@pytest.fixture
def run(trained, tmp_path, evaluate) -> Callable[..., bool]:
    """run("threshold=0.3"): evaluates a copy of the run on val, and returns whether it ran the model."""
    shutil.copytree(trained / "a", tmp_path / "a")

    def again(*overrides: str) -> bool:
        from multihot.evaluation import predict as module

        calls, predict = [], module.predict
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "predict", lambda *args, **named: calls.append(predict(*args, **named)))
            evaluate(f"run={tmp_path}/a", *overrides)
        return bool(calls)

    return again


def test_saved_logits_are_used_until_something_is_asked_anew(run, tmp_path, caplog):
    before = load_file(tmp_path / "a/val/predictions.safetensors")
    metrics = (tmp_path / "a/val/metrics.json").read_text()
    assert not run()  # what the training has written
    assert (tmp_path / "a/val/metrics.json").read_text() == metrics
    assert f"the logits are those in {tmp_path}/a/val: model, data and preprocessing are the same" in caplog.text
    assert not run("threshold=0.3")
    assert (tmp_path / "a/val/metrics.json").read_text() != metrics
    assert not run(f"out={tmp_path}/other", "threshold=[0.1,0.2]")
    assert run("predict=again")
    sealed = read_seal(tmp_path / "a/val", ORIGIN)["files"]
    assert {*sealed} == {"predictions.safetensors", "images.json"}  # what is computed from them may change
    assert not run()
    for folder in ("a/val", "other"):
        after = load_file(tmp_path / folder / "predictions.safetensors")
        assert all(torch.equal(after[name], before[name]) for name in before)
    assert run("split=train")
    assert not run("split=train")


def test_saved_logits_are_copied_to_another_disk(run, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "Invalid cross-device link")))
    assert not run(f"out={tmp_path}/other")
    for name in ("predictions.safetensors", "images.json", "predictions.json"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "a/val" / name).read_bytes()


def test_another_threshold_loads_no_model(run, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['evaluate.py', 'run={tmp_path}/a', 'threshold=0.3']\n"
        "runpy.run_path('evaluate.py', run_name='__main__')\n"
        "print(sorted({'timm', 'torchvision', 'torchmetrics'} & set(sys.modules)))"
    )
    ended = run_script("-c", code)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr


def test_another_precision_is_computed_anew(run):
    assert run("mixed_precision=bf16")
    assert not run("mixed_precision=bf16")
    assert run()


def test_a_changed_picture_is_predicted_anew(run, trained):
    path = trained / "photos/3.png"
    state = path.stat()
    try:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        assert run()
        assert not run()
    finally:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert run()


@pytest.mark.parametrize("change", ["answer", "groups", "value_range"])
def test_other_data_is_predicted_anew(run, trained, tmp_path, change):
    shutil.copy(trained / "photos/all.csv", trained / "photos/other.csv")
    assert run(f"+data.path={trained}/photos/other.csv")
    assert not run(f"+data.path={trained}/photos/other.csv")
    if change == "answer":
        text = (trained / "photos/all.csv").read_text()
        (trained / "photos/other.csv").write_text(text.replace("0.png,val,dog", "0.png,val,cat"))
        assert run(f"+data.path={trained}/photos/other.csv")
    elif change == "groups":
        assert run(f"+data.path={trained}/photos/other.csv", "+data.groups={pet: [cat, dog]}")
    else:
        assert run(f"+data.path={trained}/photos/other.csv", "+data.value_range=[0,255]")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_another_model_is_run(run, tmp_path, file):
    (tmp_path / "a/best/seal.json").unlink()
    path = tmp_path / "a/best" / file
    if file == "config.json":
        path.write_text(path.read_text() + "\n")
    else:
        weights = load_file(path)
        save_file({name: value + 1e-3 for name, value in weights.items()}, path)
    assert run()
    assert not run()


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "images", "origin", "of before"])
def test_damaged_predictions_are_made_anew(run, trained, tmp_path, caplog, damage):
    folder = tmp_path / "a/val"
    before = load_file(trained / "a/val/predictions.safetensors")
    path = folder / {"images": "images.json", "origin": "predictions.json", "of before": "predictions.json"}.get(
        damage, "predictions.safetensors"
    )
    content = path.read_bytes()
    if damage in ("gone", "of before"):
        path.unlink()
    elif damage == "bit":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    else:
        path.write_bytes(content[: len(content) // 2])
    assert run()
    assert ("are not used: " in caplog.text) == (damage not in ("origin", "of before"))
    after = load_file(folder / "predictions.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not run()


def test_a_run_on_features_is_predicted_by_the_whole_model(train, evaluate, tmp_path, monkeypatch):
    train("name=a", "finetune=head")
    assert not (tmp_path / "a/val/predictions.json").exists()
    evaluate(f"run={tmp_path}/a")
    assert (tmp_path / "a/val/predictions.json").exists()


def test_an_evaluation_that_fails_leaves_nothing_behind(run, tmp_path, monkeypatch):
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    monkeypatch.setattr("multihot.evaluation.scores.mean_loss", lambda *_: [][0])
    with pytest.raises(IndexError):
        run("split=train")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before
