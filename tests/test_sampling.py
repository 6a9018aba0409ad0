"""Every epoch shows each image as often as its labels ask for, in an order that depends on seed and epoch alone."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.data.sampling import TrainingOrder, draw_rows, image_repeats
from multihot.errors import InputError

NUM_IMAGES = 1000


@pytest.fixture(scope="module")
def long_tail():
    """1,000 images with one label each: 900 common, 90 middle, 9 rare, and one with none."""
    column = np.repeat([0, 1, 2], [900, 90, 9])
    targets = csr_array((np.ones(999, np.int8), (np.arange(999), column)), shape=(NUM_IMAGES, 3))
    return Manifest(("common", "middle", "rare"), [f"{row}.jpg" for row in range(NUM_IMAGES)], targets)


def shown(order: TrainingOrder, epoch: int) -> np.ndarray:
    order.epoch = epoch
    return np.bincount([row for batch in order for _, row in batch], minlength=order.num_rows)


def test_class_balanced_sampling_shows_each_label_equally_often(long_tail):
    repeats = image_repeats(long_tail, "class_balanced", 0.001)
    assert repeats.sum() == pytest.approx(NUM_IMAGES)
    per_label = [repeats[rows].sum() for rows in (slice(900), slice(900, 990), slice(990, 999), slice(999, None))]
    assert per_label == pytest.approx([250] * 4)


def test_repeat_factors_are_those_of_the_paper(long_tail):
    # t = 0.1: sqrt(0.1 / 0.09) = 1.054 and sqrt(0.1 / 0.009) = 3.333; the extra 4.87 + 21 sum up to 26 images
    repeats = image_repeats(long_tail, "repeat_factor", 0.1)
    extra = np.array([90 * (np.sqrt(0.1 / 0.09) - 1), 9 * (np.sqrt(0.1 / 0.009) - 1)])
    assert repeats[:900].tolist() == [1] * 900
    assert [repeats[900:990].sum() - 90, repeats[990:999].sum() - 9] == pytest.approx(extra * 26 / extra.sum())


def test_unknown_labels_repeat_nothing(long_tail):
    unknown = csr_array((-long_tail.targets.data, long_tail.targets.indices, long_tail.targets.indptr), shape=(1000, 3))
    manifest = Manifest(long_tail.labels, long_tail.images, unknown)
    assert image_repeats(manifest, "repeat_factor", 0.1) is None


@pytest.mark.parametrize("strategy", ["class_balanced", "repeat_factor"])
def test_each_epoch_rounds_the_repeats_up_or_down_and_has_the_same_length(long_tail, strategy):
    repeats = image_repeats(long_tail, strategy, 0.1)
    order = TrainingOrder(NUM_IMAGES, 64, seed=0, repeats=repeats)
    epochs = np.array([shown(order, epoch) for epoch in range(30)])
    assert set(epochs.sum(axis=1)) == {round(repeats.sum())} == {order.num_images}
    assert ((epochs >= np.floor(repeats) - 1e-9) & (epochs <= np.ceil(repeats))).all()
    np.testing.assert_allclose(epochs[:, 990:999].mean(), repeats[990:999].mean(), rtol=0.05)


def test_processes_share_the_repeated_images_of_one(long_tail):
    repeats = image_repeats(long_tail, "class_balanced", 0.1)
    one = [set(batch) for batch in TrainingOrder(NUM_IMAGES, 64, seed=3, repeats=repeats)]
    parts = [TrainingOrder(NUM_IMAGES, 32, 3, process, 2, repeats=repeats) for process in range(2)]
    assert [set(a) | set(b) for a, b in zip(*parts, strict=True)] == one


def test_a_window_goes_through_the_shards_one_after_the_other_in_a_new_order_each_epoch():
    shards = np.repeat(np.arange(50), 20)
    order = TrainingOrder(NUM_IMAGES, 10, seed=0, shards=shards, window=40)
    visits = []
    for epoch in range(2):
        assert (shown(order, epoch) == 1).all()
        rows = np.array([row for batch in order for _, row in batch])
        places = [np.flatnonzero(shards[rows] == shard) for shard in range(50)]
        assert max(place.max() - place.min() for place in places) < 20 + 2 * 40  # each moves by less than 40
        visits.append(np.argsort([place.mean() for place in places]))
    assert (visits[0] != visits[1]).any()


def test_a_window_needs_shards():
    with pytest.raises(InputError, match="set it to null"):
        TrainingOrder(10, 2, 0, window=5)


def test_uniform_sampling_is_a_permutation():
    assert draw_rows(None, 5, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_class_balanced_sampling_draws_a_label_and_then_one_of_its_images():
    # "a" is on 3 images, "b" on 1 of them; 3 draws in 3: 1 of a, 1 of b, 1 of the image without any
    targets = csr_array(np.int8([[1, 0], [1, 0], [1, 1], [0, 0]]))
    repeats = image_repeats(Manifest(("a", "b"), list("wxyz"), targets), "class_balanced", 0.0)
    np.testing.assert_allclose(repeats * 3 / 4, [1 / 3, 1 / 3, 1 / 3 + 1, 1])
    assert repeats[:3].sum() == pytest.approx(2 * repeats[3])  # "a" is shown twice as often as what has no label


def test_images_without_any_label_are_shown_once_each():
    data = Manifest(("a", "b"), list("wxyz"), csr_array(np.int8([[-1, 0], [0, -1], [0, 0], [0, 0]])))
    assert image_repeats(data, "class_balanced", 0.0).tolist() == [1, 1, 1, 1]
    assert image_repeats(data, "repeat_factor", 0.5) is None
