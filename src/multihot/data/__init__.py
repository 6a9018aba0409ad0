"""Every source becomes one Manifest; a Manifest becomes batches."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from multihot.known_classes import create

if TYPE_CHECKING:
    from multihot.data.manifest import Manifest

# The settings of data in conf/train.yaml, which are about any source.
OF_ANY_SOURCE = (
    "bad_images",
    "cache",
    "cache_folder",
    "corrections",
    "sampling",
    "shuffle_window",
    "value_range",
    "window",
)


def source_settings(settings: Mapping) -> dict:
    """Returns those settings of a data group that say what the data is."""
    return {key: value for key, value in settings.items() if key not in OF_ANY_SOURCE}


def create_reader(settings: Mapping) -> Callable:
    """Returns the reader of a data source, (split, labels=None, must_exist=True) -> Manifest, from the settings of a
    data group. The answers are corrected where the settings say so.
    """
    read = create("data", source_settings(settings), _convert_="all")
    if settings["corrections"] is None:
        return read
    from multihot.data.corrections import CorrectedReader  # imports torch, which --help need not wait for

    return CorrectedReader(read, settings["corrections"])


def create_source(settings: Mapping, max_images: int | None, num_workers: int | None) -> Callable[..., "Manifest"]:
    """Returns (split, labels=None) -> Manifest, see `load_split`, from the settings of a data group."""
    options = {key: settings[key] for key in ("bad_images", "cache_folder", "value_range", "window")}
    return partial(load_split, create_reader(settings), max_images=max_images, num_workers=num_workers, **options)


def load_split(
    read: Callable,
    split: str,
    labels: Sequence[str] | None = None,
    *,
    max_images: int | None,
    bad_images: str,
    cache_folder: str,
    num_workers: int | None,
    value_range: object = "auto",
    window: object = "file",
) -> "Manifest":
    """Returns at most `max_images` images of a split of what `create_reader` gave, those that can be used.

    Args:
        bad_images: error (an image that cannot be decoded stops the run when it is met) | skip.
        cache_folder: remembers which images cannot be decoded.
        value_range: what is black and what is white of values of more than 8 bits, auto | [black, white].
        window: the same as center and width, file | [center, width] | three of them, for red, green and blue.
    """
    from multihot.data.bad_images import drop_bad_images
    from multihot.data.value_range import read_value_range

    value_range = read_value_range(value_range, window)
    manifest = read(split, labels=labels, must_exist=bad_images == "error").thin_out(max_images)
    manifest = manifest.with_value_range(value_range)
    if bad_images == "error" or not len(manifest):
        return manifest
    from multihot.data.loader import default_num_workers  # which imports timm

    num_workers = default_num_workers() if num_workers is None else num_workers
    return drop_bad_images(manifest, Path(cache_folder) / "checked", num_workers)
