"""Counting the entries above a few, and the rankings made of it, equal what sorting all entries gives."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    coverage_error,
    label_ranking_average_precision_score,
    roc_auc_score,
)

from multihot.metrics import cells
from multihot.metrics.cells import count_cells
from multihot.metrics.ranking import pooled_average_precision, rank_images, rank_labels, score_image_rankings


def draw(kind: str, num_entries: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=num_entries).astype(np.float32)
    if kind == "ties":
        return scores.round(2)
    if kind == "unknown":
        return np.where(rng.random(num_entries) < 0.3, np.float32(-np.inf), scores)
    return scores * {"tiny": np.float32(1e-38), "huge": np.float32(8e37), "plain": np.float32(1)}[kind]


@pytest.mark.parametrize("kind", ["plain", "ties", "unknown", "tiny", "huge"])
@pytest.mark.parametrize("num_few", [1, 2, 50, 1000, 15_000])
def test_counts_are_those_of_sorted_entries(kind, num_few):
    entries = draw(kind)
    few = np.sort(entries[entries > -np.inf][:num_few])
    near, num_higher = count_cells(entries.copy(), few)
    everything = np.sort(entries)
    for side in ("left", "right"):
        counts = num_higher + near.size - near.searchsorted(few, side)
        np.testing.assert_array_equal(counts, everything.size - everything.searchsorted(few, side))


def test_few_entries_are_compared():
    entries = draw("plain")
    near, _ = count_cells(entries, np.sort(entries[:100]))
    assert near.size < 0.1 * entries.size


def test_one_far_score_changes_the_time_alone():
    entries = draw("plain")
    few = np.sort(np.append(entries[:50], np.float32(1e20)))
    near, num_higher = count_cells(entries, few)
    everything = np.sort(entries)
    np.testing.assert_array_equal(
        num_higher + near.size - near.searchsorted(few), everything.size - everything.searchsorted(few)
    )


@pytest.mark.parametrize("kind", ["plain", "ties"])
def test_labels_rank_as_in_scikit_learn(kind):
    scores, target = draw(kind).reshape(2, -1), np.random.default_rng(1).random((2, 10_000)) < 0.01
    precision, area = rank_labels(scores, target.astype(np.int8))
    for row in range(2):
        assert precision[row] == pytest.approx(average_precision_score(target[row], scores[row]), abs=1e-12)
        assert area[row] == pytest.approx(roc_auc_score(target[row], scores[row]), abs=1e-12)


@pytest.mark.parametrize("most_cells", [1 << 22, 1 << 8])
def test_parts_rank_as_one_whole(most_cells, monkeypatch):
    monkeypatch.setattr(cells, "MOST_CELLS", most_cells)
    scores, target = draw("ties"), (np.random.default_rng(1).random(20_000) < 0.01).astype(np.int8)
    parts = [(scores[part], target[part]) for part in (slice(0, 9_000), slice(9_000, 20_000))]
    own = pooled_average_precision(scores[target == 1], parts)
    assert own == pytest.approx(average_precision_score(target, scores), abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.6])  # few positives, some images with many, all with many
def test_images_rank_as_in_scikit_learn(share):
    scores = draw("ties").reshape(-1, 250)
    target = (np.random.default_rng(1).random(scores.shape) < share).astype(np.int8)
    own = score_image_rankings(rank_images(scores, target))
    assert own["lrap"] == pytest.approx(label_ranking_average_precision_score(target, scores), abs=1e-12)
    assert own["coverage_error"] == pytest.approx(coverage_error(target, scores), abs=1e-12)
