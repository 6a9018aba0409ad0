"""Copies of decoded images are what decoding gives, are made once, and are never older than their image."""

import os
import pickle
import shutil
from itertools import chain

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from scipy.sparse import csr_array
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode

from multihot.data.image_cache import DiskCache, cache_images
from multihot.data.images import file_of
from multihot.data.loader import create_evaluation_batches, create_training_batches
from multihot.data.manifest import Manifest
from multihot.data.resize import use_tensor_resize
from multihot.data.sampling import TrainingOrder
from multihot.errors import InputError
from multihot.files import file_stamp

PREPROCESSING = {
    "input_size": (3, 32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.8,
}  # fmt: skip
SIDE = 40  # 32 / 0.8


def draw(path, seed, size=(120, 80)):
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)


@pytest.fixture
def manifest(tmp_path):
    sizes = [(120, 80), (50, 90), (20, 30), (400, 60), (64, 64), (80, 40)]
    for number, size in enumerate(sizes):
        draw(tmp_path / f"{number}.png", number, size)
    images = [str(tmp_path / f"{number}.png") for number in range(len(sizes))]
    return Manifest(("a",), images, csr_array(np.ones((len(sizes), 1), np.int8)))


def cached(manifest, folder, cache="resized", **changes):
    transform = use_tensor_resize(create_transform(**{**PREPROCESSING, **changes}))
    return cache_images(manifest, cache, folder, transform, Accelerator(cpu=True))


def side_of(pixels):
    return min(pixels.shape[1:])


@pytest.fixture
def counted(manifest, monkeypatch):
    """The images that were decoded."""
    decoded = []
    read = manifest.read
    object.__setattr__(manifest, "read", lambda image, min_side=None: decoded.append(image) or read(image, min_side))
    return decoded


@pytest.mark.parametrize("cache", ["resized", "memory"])
def test_each_image_is_decoded_once_and_its_copy_is_shrunk_to_the_side(manifest, counted, tmp_path, cache):
    read = cached(manifest, tmp_path / "cache", cache)
    first = [read(image).clone() for image in manifest.images]
    again = [read(image) for image in manifest.images]
    wide = [manifest.images[3]] if cache == "memory" else []  # 400 x 60 has no place
    assert counted == [*manifest.images, *wide]
    assert [side_of(pixels) for pixels in first] == [40, 40, 20, 40, 40, 40]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("cache", ["resized", "memory"])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_evaluation_sees_the_same_pixels_with_a_cache_to_the_bit(manifest, tmp_path, cache, crop_mode):
    settings = {"accelerator": Accelerator(cpu=True), "preprocessing": {**PREPROCESSING, "crop_mode": crop_mode}}
    settings |= {"batch_size": 4, "num_workers": 0}
    plain = list(create_evaluation_batches(manifest, **settings))
    for _ in range(2):  # copies are made, then read
        with_cache = create_evaluation_batches(manifest, cache=cache, cache_folder=tmp_path / "cache", **settings)
        for batch, expected in zip(with_cache, plain, strict=True):
            assert torch.equal(batch["image"], expected["image"])


def test_a_changed_image_has_a_new_copy(manifest, tmp_path):
    read = cached(manifest, tmp_path / "cache")
    before = read(manifest.images[0])
    draw(manifest.images[0], seed=99)
    os.utime(manifest.images[0], ns=(1, 1))  # within the clock's tick of the first
    assert not torch.equal(read(manifest.images[0]), before)


def test_a_torn_copy_is_made_again(manifest, tmp_path):
    read = cached(manifest, tmp_path / "cache")
    expected = read(manifest.images[0])
    path = read.path_of(manifest.images[0])
    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(read(manifest.images[0]), expected)
    assert len(np.load(path)) == 40


def test_another_size_has_other_copies(manifest, tmp_path):
    assert side_of(cached(manifest, tmp_path / "cache")(manifest.images[0])) == 40
    assert side_of(cached(manifest, tmp_path / "cache", crop_pct=1.0)(manifest.images[0])) == 32


def test_an_unreadable_image_is_an_error_and_leaves_no_copy(manifest, tmp_path):
    (tmp_path / "0.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"0\.png"):
        cached(manifest, tmp_path / "cache")(manifest.images[0])
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize("cache", ["resized", "memory"])
def test_workers_share_the_copies(manifest, tmp_path, cache):
    def epoch(num_workers):
        batches = create_training_batches(
            manifest, lambda **settings: create_transform(is_training=True, scale=(0.5, 1), **settings),
            accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING, order=TrainingOrder(6, 2, seed=0),
            num_workers=num_workers, seed=0, cache=cache, cache_folder=tmp_path / "cache",
        )  # fmt: skip
        return batches, [list(batches) for _ in range(2)]

    _, expected = epoch(0)
    batches, seen = epoch(2)
    for one, other in zip(chain(*expected), chain(*seen), strict=True):
        assert torch.equal(one["image"], other["image"])
    if cache == "memory":  # the workers wrote into the memory of this process
        places = batches.dataset.read.func.places
        assert (places[:, :4].view(np.int32).ravel() > 0).tolist() == [True, True, True, False, True, True]


def test_memory_has_no_name_that_could_outlive_the_process(manifest, tmp_path):
    before = set(os.listdir("/dev/shm"))
    read = cached(manifest, tmp_path, "memory")
    assert {name for name in os.listdir("/dev/shm") if name.startswith("multihot")} <= before
    read(manifest.images[0])


def test_a_reader_of_copies_travels_to_a_worker(manifest, tmp_path):
    read = cached(manifest, tmp_path / "cache")
    assert (
        pickle.loads(pickle.dumps(read))
        == read
        == DiskCache(manifest.read, read.folder, SIDE, InterpolationMode.BICUBIC)
    )
    loader = DataLoader(manifest.images, collate_fn=lambda images: read(images[0]), num_workers=1)
    assert [side_of(pixels) for pixels in loader] == [40, 40, 20, 40, 40, 40]


@pytest.mark.parametrize("cache", ["resized", "memory"])
def test_too_little_space_is_said_before_anything_is_written(manifest, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=r"copies of 6 images with 40 pixels take about 0\.0 GB.*0\.0 GB free: set"):
        cached(manifest, tmp_path / "cache", cache)


def test_the_stamp_of_a_file_is_its_size_and_its_time_by_path_or_number(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    os.utime(path, ns=(5, 7))
    with path.open("rb") as file:
        assert file_stamp(str(path)) == file_stamp(file.fileno()) == (3, 7)


def test_images_that_are_no_files_and_other_transforms_are_refused(manifest, tmp_path):
    drawn = Manifest(("a",), ["digits/0"], csr_array(np.ones((1, 1), np.int8)))
    with pytest.raises(InputError, match="in none: set none"):
        cached(drawn, tmp_path)
    with pytest.raises(InputError, match="random crop, not ResizeKeepRatio"):
        cached(manifest, tmp_path, crop_mode="border")
    assert file_of(f"{tmp_path}/0.png#12") == f"{tmp_path}/0.png"
