"""Runs compared on the same images: the interval of their difference, by hand and by repeated images."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_array
from test_compare_runs import FOCAL, tell, write, write_run  # noqa: F401

from multihot.comparison.paired import Spread, spread_of_seeds, subtract, widen
from multihot.data.manifest import Manifest
from multihot.evaluation.predictions import ORIGIN, Predictions, Share, create_predictions
from multihot.evaluation.scores import evaluate
from multihot.labels import LabelSpace
from multihot.metrics.intervals import basic_interval
from multihot.metrics.resamples import draw_weights
from multihot.seal import seal

NUM_IMAGES, LABELS = 60, ("cat", "dog", "bird")
SCORES = ("map", "micro_f1", "loss")


@pytest.fixture
def data() -> Manifest:
    """Sixty images with three labels, some of them unknown."""
    target = (np.random.default_rng(0).random((NUM_IMAGES, 3)) < 0.3).astype(np.int8)
    target[4:9, 1] = -1
    return Manifest(LABELS, [f"/disk/photos/{row}.jpg" for row in range(NUM_IMAGES)], csr_array(target))


@pytest.fixture
def runs(tmp_path, data):
    """runs("a", quality=1): writes a run of that name and its predictions, the same noise in all; returns these."""

    def make(name: str, quality: float, data=data, noise=0, scale=1.0, threshold=0.5, **changes) -> Predictions:
        target = torch.from_numpy(data.dense_targets())
        generator = torch.Generator().manual_seed(noise)
        logits = scale * (torch.randn(target.shape, generator=generator) + quality * (target == 1) - 0.5)
        space = LabelSpace(data.labels)
        write_run(tmp_path, name, 0.5, split="test", **changes)
        folder = tmp_path / name / "test"
        create_predictions(folder, data, way_out="")
        share = Share(folder)
        share.write(np.arange(NUM_IMAGES), logits.numpy())
        share.file.close()
        predictions = replace(Predictions.load(folder), space=space)
        scores = evaluate(predictions, threshold).scores
        metrics = {"map": scores["map"], "micro_f1": scores["micro_f1"], "loss": 0.1, "threshold": threshold}
        write(folder / "metrics.json", metrics)
        seal(folder, {"label_space": space.to_config()}, ORIGIN)
        return predictions

    return make


def repeat(predictions: Predictions, weights: torch.Tensor) -> Predictions:
    """Returns each image as often as its weight says."""
    logits, target = (
        part.repeat_interleave(weights.long(), dim=0) for part in (predictions.logits, predictions.target)
    )
    return Predictions(logits, target, predictions.space)


@pytest.mark.parametrize(("score", "threshold"), [("map", 0.5), ("micro_f1", 0.3)])
def test_the_interval_is_that_of_the_differences_of_repeated_images(runs, tell, tmp_path, score, threshold):  # noqa: F811
    first, second = runs("a", 2.0, threshold=threshold), runs("b", 0.5, threshold=threshold, loss=FOCAL)
    differences = [
        evaluate(repeat(second, row), threshold).scores[score] - evaluate(repeat(first, row), threshold).scores[score]
        for row in [torch.ones(NUM_IMAGES), *draw_weights(NUM_IMAGES, 30)]
    ]
    low, high = basic_interval(differences[0], np.array(differences[1:]))
    worked, printed, _ = tell(tmp_path, "--paired", f"test/{score}", "--resamples", 30)
    assert worked
    assert f"| {differences[0]:+.4f} | {low:+.4f} to {high:+.4f} | - |" in printed


def test_the_scale_of_logits_is_no_difference(runs, tell, tmp_path):  # noqa: F811
    runs("a", 2.0)
    runs("b", 2.0, scale=100.0, loss=FOCAL)
    _, printed, _ = tell(tmp_path, "--paired", "test/map", "--resamples", 5)
    assert "| +0.0000 | - | - |" in printed


def test_several_scores_have_a_table_each(runs, tell, tmp_path):  # noqa: F811
    runs("a", 2.0)
    runs("b", 1.0, loss=FOCAL)
    _, printed, _ = tell(tmp_path, "--paired", "test/map", "--paired", "test/micro_f1", "--resamples", 5)
    assert printed.count("| - |  |  |") == 2
    assert "other seeds may give more or less" in printed


def test_seeds_widen_the_interval(runs, tell, tmp_path):  # noqa: F811
    for seed in range(3):
        runs(f"a{seed}", 2.0 + seed / 5, noise=seed, seed=seed)
        runs(f"b{seed}", 1.0, noise=seed, seed=seed, loss=FOCAL)
    _, printed, _ = tell(tmp_path, "--paired", "test/map", "--resamples", 50)
    *_, images, both, _ = next(line for line in printed.splitlines() if "Focal" in line).split("|")
    (low, high), (lower, higher) = ([float(end) for end in ends.split(" to ")] for ends in (images, both))
    assert lower < low < high < higher


def test_runs_on_a_folder_that_has_moved_are_the_same_images(runs, tell, data, tmp_path):  # noqa: F811
    runs("a", 2.0)
    runs("b", 1.0, replace(data, images=[name.replace("/disk", "/mnt/other") for name in data.images]), loss=FOCAL)
    worked, *_ = tell(tmp_path, "--paired", "test/map", "--resamples", 5)
    assert worked


@pytest.mark.parametrize(
    ("change", "what"), [("images", "images"), ("targets", "answers"), ("labels", "labels"), ("clusters", "clusters")]
)
def test_other_data_is_refused(runs, tell, data, tmp_path, change, what):  # noqa: F811
    targets = data.targets.toarray()
    targets[3, 0] ^= 1
    other = {
        "images": [*data.images[1:], data.images[0]], "targets": csr_array(targets),
        "labels": ("cat", "dog", "cow"), "clusters": np.arange(NUM_IMAGES),
    }  # fmt: skip
    runs("a", 2.0)
    runs("b", 1.0, replace(data, **{change: other[change]}), loss=FOCAL)
    worked, _, told = tell(tmp_path, "--paired", "test/map", "--resamples", 5)
    assert not worked
    assert f"were measured on other {what} of the test split" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--paired", "test/map", "--paired", "val/map"], "of one split, not of test and val"),
        (["--paired", "test/map", "--score", "test/map"], "leave out --score"),
        (["--paired", "test/map", "--resamples", "1"], "must be 2 or more, not 1"),
        (["--paired", "test/loss"], "test/loss has no resamples: --paired takes coverage_error, hamming_loss, "),
        (["--paired", "test/map", "--by", "epochs"], "one row alone"),
    ],
)
def test_what_cannot_be_compared_is_said(runs, tell, tmp_path, arguments, told):  # noqa: F811
    runs("a", 2.0)
    runs("b", 1.0, loss=FOCAL)
    worked, _, printed = tell(tmp_path, *arguments)
    assert not worked
    assert told in printed


def test_without_predictions_the_way_to_them_is_said(tell, tmp_path):  # noqa: F811
    write_run(tmp_path, "a", 0.5, split="test")
    write_run(tmp_path, "b", 0.4, split="test", loss=FOCAL)
    worked, _, printed = tell(tmp_path, "--paired", "test/map")
    assert not worked
    assert "evaluate.py run=" in printed


def test_seeds_without_image_noise_are_a_paired_t_test():
    ours, theirs = {0: 0.5, 1: 0.7, 2: 0.9}, {0: 0.4, 1: 0.5, 2: 0.6}
    expected = stats.ttest_rel([*ours.values()], [*theirs.values()]).confidence_interval(0.95)
    ends = widen(0.2, (math.nan, math.nan), 0.0, spread_of_seeds(ours, theirs))
    assert ends == pytest.approx([expected.low, expected.high])


def test_other_seeds_without_image_noise_are_welchs_test():
    ours, theirs = {0: 0.5, 1: 0.7, 2: 0.9}, {5: 0.4, 6: 0.45}
    expected = stats.ttest_ind([*ours.values()], [*theirs.values()], equal_var=False).confidence_interval(0.95)
    ends = widen(0.275, (math.nan, math.nan), 0.0, spread_of_seeds(ours, theirs))
    assert ends == pytest.approx([expected.low, expected.high])


def test_seeds_that_agree_leave_the_interval_of_images():
    assert widen(0.2, (0.1, 0.35), 0.004, Spread(0.0, 2)) == pytest.approx((0.1, 0.35))


def test_rows_are_means_over_seeds():
    values = np.array([0.5, 0.4, 0.6, 0.7])
    both = subtract({0: values, 1: values + 0.2}, {0: values[::-1], 1: values[::-1]})
    assert both.mean == pytest.approx(0.6 - 0.7)
    assert both.of_images == pytest.approx(basic_interval(-0.1, (values + 0.1 - values[::-1])[1:]))
