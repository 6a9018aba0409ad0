from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.report import confusions
from multihot.report.confusions import Swap, Together, count_together, find_confusions

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


def decide(logits):
    return logits > 0


def of(decision, target):
    return LogitsAndTarget(torch.tensor(decision).float() * 2 - 1, torch.tensor(target, dtype=torch.int8))


def random_matrices(num_images=400, num_labels=12, seed=0):
    rng = np.random.default_rng(seed)
    target = (rng.random((num_images, num_labels)) < 0.3).astype(np.int8)
    decision = (target == 1) ^ (rng.random(target.shape) < 0.1)
    target[rng.random(target.shape) < 0.1] = UNKNOWN
    return decision, target


def test_labels_said_together_too_often_are_told_with_their_counts():
    # On 5 images both are present and said, on 9 both are said and the second is absent.
    result = find_confusions(of([[1, 1, 0]] * 14, [[1, 1, 0]] * 5 + [[1, 0, 0]] * 9), decide)
    assert result.too_often == [Together(0, 1, num_true=5, num_said=14, num_right=5, z=3.0)]
    assert result.too_rarely == []
    assert result.num_labels == 3
    assert result.z_limit == pytest.approx(NormalDist().inv_cdf(1 - 0.05 / 2 / 3))


def test_labels_said_together_too_rarely_have_a_z_below_0():
    result = find_confusions(of([[1, 0]] * 4, [[1, 1]] * 4), decide)
    assert result.too_rarely == [Together(0, 1, num_true=4, num_said=0, num_right=0, z=-2.0)]


def test_a_swap_is_one_label_missed_and_another_said_on_the_same_image():
    # 8 images of "first" are called "second", 32 without either are right.
    result = find_confusions(of([[0, 1]] * 8 + [[0, 0]] * 32, [[1, 0]] * 8 + [[0, 0]] * 32), decide, num_images=3)
    # The second is said of 8 of the 40 images without it, so by chance of 8 * 8 / 40 of these.
    lowest = chi2.ppf(0.025, 2 * 8) / 2
    assert result.swaps == [Swap(0, 1, 8, pytest.approx(1.6), pytest.approx(lowest - 1.6), (0, 1, 2))]


def test_what_is_missed_and_said_on_different_images_is_no_swap():
    assert find_confusions(of([[0, 0], [0, 1]], [[1, 0], [0, 0]]), decide).swaps == []


def test_unknown_answers_are_in_no_count():
    decision = [[0, 1], [1, 1], [0, 1]]
    assert find_confusions(of(decision, [[UNKNOWN, 0], [1, UNKNOWN], [1, UNKNOWN]]), decide)[:3] == ([], [], [])


def test_a_label_that_is_always_said_has_no_surplus_of_swaps():
    rng = np.random.default_rng(0)
    target = np.stack([rng.random(300) < 0.5, np.zeros(300), rng.random(300) < 0.1], axis=1)
    decision = np.zeros((300, 3), bool)
    decision[:, 1] = True
    assert find_confusions(of(decision, target), decide).swaps == []


def test_counts_are_those_of_loops():
    decision, target = random_matrices()
    result = find_confusions(of(decision, target), decide, num_pairs=1000)
    assert result.too_often
    assert result.too_rarely
    assert result.swaps
    for pair in result.too_often + result.too_rarely:
        known = (target[:, [pair.first, pair.second]] >= 0).all(axis=1)
        true = (target[:, [pair.first, pair.second]] == 1).all(axis=1)
        said = decision[:, [pair.first, pair.second]].all(axis=1) & known
        assert (pair.num_true, pair.num_said, pair.num_right) == (true.sum(), said.sum(), (true & said).sum())
        num_wrong, num_missed = (said & ~true).sum(), (true & ~said).sum()
        assert pair.z == pytest.approx((num_wrong - num_missed) / np.sqrt(num_wrong + num_missed))
    for swap in result.swaps:
        missed = (target[:, swap.missed] == 1) & ~decision[:, swap.missed]
        absent = target[:, swap.said] == 0
        swapped = missed & absent & decision[:, swap.said]
        assert swap.count == swapped.sum()
        assert swap.rows == tuple(np.flatnonzero(swapped)[:4])
        assert swap.expected == pytest.approx((missed & absent).sum() * decision[absent, swap.said].mean())
    z, surplus = [pair.z for pair in result.too_often], [swap.surplus for swap in result.swaps]
    assert (z, surplus) == (sorted(z, reverse=True), sorted(surplus, reverse=True))


def test_one_label_has_nothing_to_be_confused_with():
    assert find_confusions(of([[1], [0]], [[0], [1]]), decide)[:3] == ([], [], [])


def test_products_of_dense_and_of_sparse_matrices_are_equal(monkeypatch):
    rng = np.random.default_rng(0)
    for share in (0.01, 0.3, 0.9):
        first, second = rng.random((60, 7)) < 0.2, rng.random((60, 7)) < share
        expected = first.astype(int).T @ second.astype(int)
        for dense in (0.0, 1.0):
            monkeypatch.setattr(confusions, "DENSE", dense)
            assert np.array_equal(count_together(first, second), expected)


def test_of_many_labels_the_most_active_are_compared_and_keep_their_columns(monkeypatch):
    decision, target = random_matrices()
    decision[:, [0, 5]] = target[:, [0, 5]] = False
    everything = find_confusions(of(decision, target), decide)
    monkeypatch.setattr(confusions, "MOST_LABELS", 10)
    most = find_confusions(of(decision, target), decide)
    assert most[:3] == everything[:3]
    assert (everything.num_labels, most.num_labels) == (12, 10)


def test_labels_of_a_group_are_swapped_where_another_wins():
    space = LabelSpace.single_label(("cat", "dog", "cow"))
    target = torch.eye(3, dtype=torch.int8).repeat(20, 1)
    logits = target.float()
    logits[target[:, 1] == 1] = torch.tensor([1.0, 0.5, 0.0])  # all dogs are called cats
    swaps = find_confusions(LogitsAndTarget(logits, target), space.decide).swaps
    # Of 40 images without a cat 20 are called one, so by chance half of the 20 dogs.
    assert [swap[:4] for swap in swaps] == [(1, 0, 20, 10.0)]


def test_large_counts_come_in_blocks(monkeypatch):
    decision, target = random_matrices()
    whole = find_confusions(of(decision, target), decide)
    monkeypatch.setattr("multihot.metrics.blocks.ENTRIES_IN_BLOCK", 1)
    monkeypatch.setattr("multihot.metrics.blocks.ENTRIES_IN_CHUNK", 12 * 32)
    assert find_confusions(of(decision, target), decide) == whole
