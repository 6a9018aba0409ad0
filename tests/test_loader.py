import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from timm.data import create_transform

from multihot.data.loader import create_evaluation_batches, create_training_batches, seeded
from multihot.data.readers.digits import create_digits
from multihot.data.sampling import EvaluationOrder, TrainingOrder
from multihot.errors import InputError

PREPROCESSING = {"input_size": (3, 32, 32), "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.2), "crop_pct": 1.0}
AUGMENT = partial(create_transform, is_training=True, scale=(0.5, 1.0), color_jitter=0.3, auto_augment="rand-m9-n2")


@pytest.fixture
def manifest():
    count = {"train": 19, "val": 19, "test": 19}
    return create_digits(
        "train", num_images=count, max_digits=3, num_clutter=2, single_label=False, hidden_fraction=0.0, seed=0
    )


def rows_of(order):
    return [[row for _, row in batch] for batch in order]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("num_images", [24, 25, 29, 3])
def test_training_processes_share_every_image_once(num_images, num_processes):
    orders = [
        TrainingOrder(num_images, 4, seed=0, process_index=p, num_processes=num_processes) for p in range(num_processes)
    ]
    seen = sorted(row for order in orders for batch in rows_of(order) for row in batch)
    assert len(set(seen)) == len(seen) > num_images - num_processes
    # all processes make the same number of steps, and know how many images take part in each
    sizes = [sum(map(len, batches)) for batches in zip(*map(rows_of, orders), strict=True)]
    assert all(order.batch_sizes() == sizes and len(order) == len(sizes) for order in orders)


def test_two_processes_make_the_global_batches_of_one():
    one = rows_of(TrainingOrder(50, 8, seed=3))
    two = [rows_of(TrainingOrder(50, 4, seed=3, process_index=p, num_processes=2)) for p in range(2)]
    assert [set(batch) for batch in one] == [set(a) | set(b) for a, b in zip(*two, strict=True)]


def test_each_epoch_and_each_seed_has_its_own_order():
    first, again, other = (TrainingOrder(30, 30, seed) for seed in (0, 0, 1))
    again.epoch = 1
    assert len({tuple(rows_of(order)[0]) for order in (first, again, other)}) == 3
    assert next(iter(again))[0][0] == 1  # the epoch travels with the row


def test_fewer_images_than_processes_are_refused():
    with pytest.raises(InputError, match="2 training images"):
        TrainingOrder(2, 8, seed=0, num_processes=3)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5, 7])
def test_evaluation_processes_share_the_batches_of_one(num_processes):
    one = rows_of(EvaluationOrder(23, 5))
    orders = [EvaluationOrder(23, 5, p, num_processes) for p in range(num_processes)]
    assert {len(order) for order in orders} == {math.ceil(len(one) / num_processes)}  # as a sharded model needs it
    own = [batch for order in orders for batch in rows_of(order)[: order.num_own]]
    assert sorted(own) == sorted(one)
    assert [row for batch in one for row in batch] == list(range(23))


def batches_with(manifest, num_workers):
    batches = create_training_batches(
        manifest, AUGMENT, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING,
        order=TrainingOrder(len(manifest), 8, seed=5), num_workers=num_workers, seed=5,
    )  # fmt: skip
    epochs = []
    for epoch in range(2):
        batches.order.epoch = epoch
        torch.rand(epoch + num_workers)  # what else draws random numbers must not matter
        epochs.append(list(batches))
    return epochs


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_the_pixels_do_not_depend_on_the_number_of_workers(manifest):
    expected = batches_with(manifest, 0)
    for num_workers in (1, 4):
        for epoch, expected_epoch in zip(batches_with(manifest, num_workers), expected, strict=True):
            for batch, expected_batch in zip(epoch, expected_epoch, strict=True):
                assert all(torch.equal(batch[key], expected_batch[key]) for key in ("image", "target", "index"))


def test_the_same_image_is_augmented_anew_in_each_epoch(manifest):
    first, second = (
        {int(row): image for batch in epoch for row, image in zip(batch["index"], batch["image"], strict=True)}
        for epoch in batches_with(manifest, 0)
    )
    assert sum(torch.equal(first[row], second[row]) for row in first) < 3


def test_evaluation_batches_are_normalised_as_the_model_wants(manifest):
    batches = create_evaluation_batches(
        manifest, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING, batch_size=8, num_workers=0
    )
    batch = next(iter(batches))
    assert batch["image"].dtype == batch["target"].dtype == torch.float32
    assert batch["index"].tolist() == list(range(8))
    expected = create_transform(**PREPROCESSING)(manifest.read(manifest.images[2]))
    grey_level = 1 / 255 / min(PREPROCESSING["std"])
    torch.testing.assert_close(batch["image"][2], expected, atol=1.001 * grey_level, rtol=0)
    assert batch["target"][2].tolist() == manifest.target(2).tolist()


def test_seeding_a_sample_leaves_the_generators_as_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with seeded(1, 2, 3):
        first = random.random(), np.random.rand(), torch.rand(())
    with seeded(1, 2, 3):
        assert (random.random(), np.random.rand(), torch.rand(())) == first
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
