"""Intervals of an evaluation: those of the resampled scores, by cluster where the predictions have clusters."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_predictions import LABELS, NUM_IMAGES, NUM_LABELS, SPACES, draw, save

from multihot.data.manifest import Manifest
from multihot.evaluation.intervals import add_intervals, describe_intervals, resample_scores
from multihot.evaluation.predictions import Predictions, identify
from multihot.evaluation.scores import evaluate as measure
from multihot.files import read_json
from multihot.json_shapes import METRICS
from multihot.labels import LabelSpace
from multihot.metrics.intervals import ap_interval
from multihot.metrics.resamples import draw_weights

CLUSTERS = np.arange(NUM_IMAGES) // 7 * 3 - 2**40
SETTINGS = {"mixed_precision": "no", "kernels": "default", "data": {}}


@pytest.fixture
def saved(tmp_path):
    """saved("groups", clusters): predictions that were saved and read again."""

    def load(name: str, clusters: np.ndarray | None = None) -> Predictions:
        logits, data = draw(SPACES[name], is_soft=False)
        save(tmp_path / "new", logits, replace(data, clusters=clusters))
        return Predictions.load(tmp_path / "new", SPACES[name])

    return load


@pytest.mark.parametrize("name", SPACES)
def test_each_score_has_the_basic_interval_of_its_resampled_values(saved, name):
    predictions = saved(name)
    evaluation = measure(predictions, 0.3 if name == "independent" else None)
    add_intervals(evaluation, predictions, 50, 0.3 if name == "independent" else None)
    wanted = {score for score in evaluation.scores if not score.startswith("num_")}
    assert evaluation.intervals.keys() == wanted
    resampled = resample_scores(predictions, draw_weights(NUM_IMAGES, 50), 0.3 if name == "independent" else None)
    for score, (low, high) in evaluation.intervals.items():
        ends = 2 * evaluation.scores[score] - np.quantile(resampled[score], [0.975, 0.025])
        if score == "subset_accuracy" and name != "single label":  # 0 of all resamples
            assert np.isnan([low, high]).all()
        else:
            assert [low, high] == pytest.approx(np.clip(ends, 0, NUM_LABELS), abs=1e-6), score


def test_scores_by_fitted_decisions_have_their_own_intervals(saved):
    predictions = saved("independent")
    evaluation = measure(predictions)
    evaluation.scores["fitted_micro_f1"] = measure(
        Predictions(predictions.logits - 1, predictions.target, predictions.space)
    ).scores["micro_f1"]
    evaluation.decided_by["sha256"] = ""
    decisions = SimpleNamespace(decide=lambda logits: logits > 1)
    add_intervals(evaluation, predictions, 20, decisions=decisions)
    low, high = evaluation.intervals["fitted_micro_f1"]
    assert low < evaluation.scores["fitted_micro_f1"] < high < evaluation.intervals["micro_f1"][0]
    assert "fitted_macro_f1" not in evaluation.intervals  # it has no score


def test_the_ap_of_each_label_has_its_interval_beside_it(saved):
    predictions = saved("independent")
    evaluation = measure(predictions)
    before = [dict(row) for row in evaluation.table]
    add_intervals(evaluation, predictions, 5)
    for row, plain in zip(evaluation.table, before, strict=True):
        low, high = ap_interval(np.array([row["ap"]]), np.array([row["support"]]))
        assert [row["ap_low"], row["ap_high"]] == pytest.approx([low[0], high[0]], abs=1e-6, nan_ok=True)
        names = list(plain)
        place = names.index("ap") + 1
        assert list(row) == [*names[:place], "ap_low", "ap_high", *names[place:]]


def test_clusters_are_saved_first_and_drawn_whole(saved, tmp_path):
    predictions = saved("independent", CLUSTERS)
    assert torch.equal(predictions.cluster, torch.from_numpy(CLUSTERS))
    matrices = load_file(tmp_path / "new/predictions.safetensors")
    assert torch.equal(matrices["cluster"], predictions.cluster)
    assert torch.equal(matrices["logits"], predictions.logits)
    assert torch.equal(matrices["target"], predictions.target)
    alone = replace(predictions, cluster=None)
    one_cluster_an_image = replace(predictions, cluster=torch.arange(NUM_IMAGES) + 5)
    cases = (predictions, alone, one_cluster_an_image)
    maps = [resample_scores(some, draw_weights(NUM_IMAGES, 20, some.cluster))["map"] for some in cases]
    assert (maps[1] == maps[2]).all()
    assert not (maps[0] == maps[1]).any()
    evaluation = measure(predictions)
    add_intervals(evaluation, predictions, 2)
    for label, row in enumerate(evaluation.table):
        num_clusters = len(predictions.cluster[predictions.target[:, label] == 1].unique())
        low, high = ap_interval(np.array([row["ap"]]), np.array([num_clusters]))
        assert [row["ap_low"], row["ap_high"]] == pytest.approx([low[0], high[0]], abs=1e-6, nan_ok=True)
    assert "by 20 resamples of 100 clusters of 700 images" in describe_intervals(evaluation, predictions, 20)
    assert "by 1,000 resamples of 700 images" in describe_intervals(evaluation, alone, 1000)


def test_without_clusters_the_file_holds_logits_and_target_alone(saved, tmp_path):
    assert saved("independent").cluster is None
    with (tmp_path / "new/predictions.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    size = NUM_IMAGES * NUM_LABELS
    assert list(header.items()) == [
        ("logits", {"dtype": "F32", "shape": [NUM_IMAGES, NUM_LABELS], "data_offsets": [0, 4 * size]}),
        ("target", {"dtype": "I8", "shape": [NUM_IMAGES, NUM_LABELS], "data_offsets": [4 * size, 5 * size]}),
    ]


def test_other_clusters_are_other_predictions(tmp_path):
    _, data = draw(SPACES["independent"], is_soft=False)
    images = [str(tmp_path / "image.png")] * NUM_IMAGES
    Path(images[0]).write_bytes(b"")
    data = Manifest(LABELS, images, data.targets)
    plain, first, second = (
        identify(replace(data, clusters=clusters), SPACES["independent"], SETTINGS)
        for clusters in (None, CLUSTERS, CLUSTERS[::-1].copy())
    )
    assert "clusters" not in plain
    assert first["clusters"] != second["clusters"]
    assert {name for name in first if first[name] != plain.get(name)} == {"clusters"}


def test_labels_with_few_positives_are_counted():
    target = torch.zeros(40, 3, dtype=torch.int8)
    for label, num_positives in enumerate((9, 10, 0)):
        target[:num_positives, label] = 1
    predictions = Predictions(torch.randn(40, 3), target, LabelSpace(LABELS[:3]))
    evaluation = measure(predictions)
    assert "2 of 3 labels have fewer than 10 positives" in describe_intervals(evaluation, predictions, 5)


def test_evaluate_writes_and_prints_intervals_unless_told_not_to(train, evaluate, tmp_path, caplog):
    train("name=a")
    evaluate(f"run={tmp_path}/a", "split=test", "resamples=100")
    printed = caplog.text
    metrics = read_json(tmp_path / "a/test/metrics.json", METRICS)
    predictions = Predictions.load(tmp_path / "a/test")
    values = resample_scores(predictions, draw_weights(len(predictions), 100))["ranking_loss"]
    ends = 2 * metrics["ranking_loss"] - np.quantile(values, [0.975, 0.025])
    assert metrics["intervals"]["ranking_loss"] == pytest.approx(np.clip(ends, 0, 1), abs=1e-6)
    low, high = metrics["intervals"]["map"]
    assert f"{metrics['map']:.4f}  {low:.4f} to {high:.4f}" in printed
    assert "of 10 labels have fewer than 10 positives" in printed
    with (tmp_path / "a/test/labels.csv").open() as file:
        [row, *_] = csv.DictReader(file)
    assert float(row["ap_low"]) <= float(row["ap"]) <= float(row["ap_high"])
    evaluate(f"run={tmp_path}/a", "split=test", "resamples=0")
    assert "intervals" not in read_json(tmp_path / "a/test/metrics.json", METRICS)
    assert "ap_low" not in (tmp_path / "a/test/labels.csv").read_text()
    assert "0 to " not in caplog.text.removeprefix(printed)
