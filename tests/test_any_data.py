"""From files to metrics: unknown and soft answers, bad images, and runs without a validation part."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from multihot.errors import InputError

NUM_IMAGES = 24


@pytest.fixture
def folder(tmp_path):
    """24 photos, red where there is a cat and bright where there is a dog; every third is for validation."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        pixels = rng.integers(0, 80, (48, 48, 3))
        pixels[..., 0] += 150 * (number % 2)
        pixels += 25 * (number // 2 % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def write(folder: Path, name: str, header: list[str], rows: list[list]) -> str:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return f"data.path={folder / name}"


def split_of(number: int) -> str:
    return "val" if number % 3 == 0 else "train"


def write_cells(folder: Path) -> str:
    labels = [" ".join(["cat"] * (number % 2) + ["dog"] * (number // 2 % 2)) for number in range(NUM_IMAGES)]
    rows = [[f"{number}.png", split_of(number), labels[number]] for number in range(NUM_IMAGES)]
    return write(folder, "cells.csv", ["image", "split", "labels"], rows)


def write_columns(folder: Path, cat) -> str:
    rows = [[f"{number}.png", split_of(number), cat(number), number // 2 % 2] for number in range(NUM_IMAGES)]
    return write(folder, "columns.csv", ["image", "split", "cat", "dog"], rows)


def read(path: Path):
    return json.loads(path.read_text())


def read_csv(path: Path, key: str) -> dict[str, dict]:
    with path.open() as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_what_is_trained_on_is_said(train, folder, caplog):
    train("name=a", "data=csv", write_cells(folder), "epochs=0")
    assert "16 train and 8 val images, 2 labels: cat, dog" in caplog.text


def test_unknown_answers_go_from_the_file_to_the_metric(train, evaluate, tmp_path, folder):
    path = write_columns(folder, lambda number: "" if number >= 12 else -1 if number % 4 == 0 else number % 2)
    train("name=a", "data=csv", "data.layout=columns", path)
    known = [number for number in range(12) if number % 4 and split_of(number) == "train"]
    assert read(tmp_path / "a/train_counts.json") == {
        "label_count": [sum(number % 2 for number in known), 8], "num_known": [len(known), 16], "num_images": 16,
    }  # fmt: skip
    predictions = load_file(tmp_path / "a/val/predictions.safetensors")
    assert predictions["target"][:, 0].tolist() == [-1, 1, 0, 1, -1, -1, -1, -1]
    evaluate(f"run={tmp_path}/a", "split=val")
    assert read_csv(tmp_path / "a/val/labels.csv", "label")["cat"]["support"] == "2"


def test_soft_answers_are_the_loss_s_and_count_from_a_half_up_in_the_metrics(train, evaluate, tmp_path, folder):
    path = write_columns(folder, lambda number: (0.25, 0.75)[number % 2])
    train("name=a", "data=csv", "data.layout=columns", path, "epochs=2")
    predictions = load_file(tmp_path / "a/val/predictions.safetensors")
    logits, target = predictions["logits"], predictions["target"]
    assert target[:, 0].tolist() == [0.25, 0.75] * 4
    metrics = read(tmp_path / "a/val/metrics.json")
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target).item()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert read_csv(tmp_path / "a/val/labels.csv", "label")["cat"]["support"] == "4"
    evaluate(f"run={tmp_path}/a", "split=val", "predict=again")
    assert read(tmp_path / "a/val/metrics.json") == metrics


def test_a_pair_that_is_not_listed_can_be_unknown(train, tmp_path, folder):
    rows = [[f"{number}.png", split_of(number), "cat", number % 2] for number in range(NUM_IMAGES)]
    rows += [[f"{number}.png", split_of(number), "dog", 1] for number in range(0, NUM_IMAGES, 4)]
    path = write(folder, "pairs.csv", ["image", "split", "labels", "value"], rows)
    train("name=a", "data=csv", "data.layout=pairs", "data.value_column=value", "data.unlisted_pairs=unknown", path)
    assert read(tmp_path / "a/train_counts.json")["num_known"] == [16, 4]
    assert load_file(tmp_path / "a/val/predictions.safetensors")["target"][:, 1].tolist() == [
        1,
        -1,
        -1,
        -1,
        1,
        -1,
        -1,
        -1,
    ]


def test_bad_images_are_left_out_by_name_and_evaluation_says_so(train, evaluate, tmp_path, folder, caplog):
    path = write_cells(folder)
    (folder / "1.png").write_bytes(b"broken")
    (folder / "3.png").unlink()
    settings = ("name=a", "data=csv", "data.labels=[cat,dog]", path)
    with pytest.raises(InputError, match=r"3\.png"):
        train(*settings)
    train(*settings, "data.bad_images=skip")
    for split, number, kept in (("train", 1, 15), ("val", 3, 7)):
        [(image, row)] = read_csv(tmp_path / f"a/bad_images_{split}.csv", "image").items()
        assert image == str(folder / f"{number}.png")
        assert "cannot read the image" in row["reason"]
        assert read(tmp_path / "a/manifests.json")[split]["num_images"] == kept
    metrics = read(tmp_path / "a/val/metrics.json")
    assert (metrics["num_images"], metrics["num_images_dropped"]) == (7, 1)
    assert "1 of 8 images cannot be used and are left out" in caplog.text
    evaluate(f"run={tmp_path}/a", "split=val", "predict=again")
    assert read(tmp_path / "a/val/metrics.json") == metrics


def test_images_are_checked_once_and_again_when_they_change(train, tmp_path, folder, monkeypatch):
    from multihot.data import bad_images

    looked = []
    find = bad_images.find_bad_images
    monkeypatch.setattr(bad_images, "find_bad_images", lambda *given: looked.append(given) or find(*given))
    settings = ("data=csv", "data.bad_images=skip", write_cells(folder))
    train("name=a", *settings)
    train("name=b", *settings)
    assert len(looked) == 2  # train and val, in the first run
    (folder / "0.png").write_bytes(b"broken")
    train("name=c", *settings)
    assert len(looked) == 3


def test_all_images_bad_is_an_error(train, folder):
    path = write_cells(folder)
    for image in folder.glob("*.png"):
        image.unlink()
    with pytest.raises(InputError, match=r"none of 16 images can be decoded; is data\.root right"):
        train("data=csv", "data.bad_images=skip", path)


def test_without_a_validation_part_all_rows_train_and_the_last_epoch_is_kept(train, evaluate, tmp_path, folder):
    rows = [
        [f"{number}.png", "test" if number % 3 == 0 else "train", "cat" * (number % 2)] for number in range(NUM_IMAGES)
    ]
    path = write(folder, "all.csv", ["image", "split", "labels"], rows)
    assert train("name=a", "data=csv", "data.val_fraction=0", "epochs=2", path) is None
    assert [set(row) for row in read(tmp_path / "a/history.json")] == [{"epoch", "update"}] + 2 * [
        {"epoch", "update", "train/loss"}
    ]
    assert not (tmp_path / "a/val").exists()
    last, best = (load_file(tmp_path / "a" / path) for path in ("last/model.safetensors", "best/model.safetensors"))
    assert all(torch.equal(last[name], best[name]) for name in best)
    evaluate(f"run={tmp_path}/a", "split=test")
    assert read(tmp_path / "a/test/metrics.json")["num_images"] == 8


def test_evaluating_on_a_changed_manifest_says_so(train, evaluate, tmp_path, folder, caplog):
    path = write_cells(folder)
    train("name=a", "data=csv", path)
    evaluate(f"run={tmp_path}/a", "split=val")
    assert "not the one that this run has seen" not in caplog.text
    table = folder / "cells.csv"
    table.write_text(table.read_text().replace("0.png,val,\n", "0.png,val,cat\n"))
    evaluate(f"run={tmp_path}/a", "split=val")
    assert "the val split is not the one that this run has seen: 8 images then, 8 now" in caplog.text


def test_other_data_can_be_measured_beside_the_run_s_own(train, evaluate, tmp_path, folder, caplog):
    train("name=a", "data=csv", write_cells(folder))
    before = (tmp_path / "a/val/metrics.json").read_bytes()
    write_columns(folder, lambda number: 1)
    other = f"+data.path={folder}/columns.csv", "+data.layout=columns"
    evaluate(f"run={tmp_path}/a", "split=val", *other, f"out={tmp_path}/elsewhere/val")
    assert (tmp_path / "a/val/metrics.json").read_bytes() == before
    assert read(tmp_path / "elsewhere/val/metrics.json")["num_images"] == 8
    assert "not the one that this run has seen" not in caplog.text


def test_images_without_any_label_are_nothing_to_measure(train, evaluate, tmp_path, folder):
    train("name=a", "data=csv", write_cells(folder))
    table = folder / "cells.csv"
    table.write_text("image,split,labels\n0.png,val,\n3.png,val,\n")
    with pytest.raises(InputError, match=r"none of the 2 val images has a label.*data\.labels_column=labels"):
        evaluate(f"run={tmp_path}/a", "split=val")


def test_images_that_tell_no_label_apart_have_no_ap(train, evaluate, tmp_path, folder, caplog):
    train("name=a", "epochs=0", "data=csv", "data.layout=columns", write_columns(folder, lambda number: number % 2))
    write_columns(folder, lambda number: 1 if number % 2 else -1)
    table = (folder / "columns.csv").read_text()
    (folder / "columns.csv").write_text(table.replace(",0\n", ",-1\n"))
    evaluate(f"run={tmp_path}/a", "split=val")
    assert "no label is known to be on some val images and not on others: there is no AP" in caplog.text
    assert "'+data.answers={-1: absent}' (by -1) or +data.blank=absent" in caplog.text
    metrics = read(tmp_path / "a/val/metrics.json")
    assert [metrics[name] for name in ("map", "micro_ap", "num_labels_ranked", "num_labels_evaluated")] == [
        None,
        None,
        0,
        2,
    ]
    evaluate(f"run={tmp_path}/a", "split=val", "+data.answers={-1: absent}")
    assert read(tmp_path / "a/val/metrics.json")["num_labels_ranked"] == 2


def test_a_run_does_not_go_on_with_other_data(train, tmp_path, folder):
    path = write_columns(folder, lambda number: number % 2)
    begin = ("name=a", "data=csv", "data.layout=columns", path)
    train(*begin, "epochs=1")
    before = {name: (tmp_path / "a" / name).read_bytes() for name in ("manifests.json", "train_counts.json")}
    write_columns(folder, lambda number: 1 if number == 4 else number % 2)
    with pytest.raises(InputError, match=r"give it a new name:\n  the train split is not .* 16 images"):
        train(*begin, "epochs=2")
    assert {name: (tmp_path / "a" / name).read_bytes() for name in before} == before
    write_columns(folder, lambda number: number % 2)
    train(*begin, "epochs=2")
    assert len(read(tmp_path / "a/history.json")) == 3


def test_a_start_that_failed_leaves_no_data_behind(train, tmp_path, folder):
    path = write_columns(folder, lambda number: number % 2)
    begin = ("name=a", "data=csv", "data.layout=columns", path)
    with pytest.raises(InputError, match=r"start=keep"):
        train(*begin, "start=keep")
    first = read(tmp_path / "a/manifests.json")["train"]
    write_columns(folder, lambda number: 1)
    train(*begin)
    assert read(tmp_path / "a/manifests.json")["train"]["sha256"] != first["sha256"]


@pytest.mark.parametrize("cache", ["none", "resized", "memory"])
def test_a_cache_changes_no_validation_score(train, evaluate, tmp_path, folder, cache):
    path = write_cells(folder)
    train("name=a", "data=csv", path, "epochs=0", f"data.cache={cache}")
    first = read(tmp_path / "a/val/metrics.json")
    evaluate(f"run={tmp_path}/a", "split=val", "predict=again")
    assert read(tmp_path / "a/val/metrics.json") == first
    train("name=plain", "data=csv", path, "epochs=0")
    assert read(tmp_path / "plain/val/metrics.json") == first


@pytest.mark.parametrize("strategy", ["class_balanced", "repeat_factor"])
def test_sampling_changes_what_an_epoch_shows(train, tmp_path, folder, strategy):
    path = write_cells(folder)
    for name, chosen in (("a", "uniform"), ("b", strategy), ("c", strategy)):
        train(f"name={name}", "data=csv", path, f"data.sampling.strategy={chosen}", "data.sampling.threshold=1")
    weights = {name: load_file(tmp_path / name / "last/model.safetensors") for name in "abc"}
    assert all(torch.equal(weights["b"][key], weights["c"][key]) for key in weights["b"])
    assert not all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
