"""data.bad_images=skip: every image is decoded once before training, and those that cannot be are left out by name."""

import csv
import hashlib
import logging
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import numpy as np
from accelerate import PartialState
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from multihot.data.manifest import BadImage, Manifest
from multihot.data.other_kinds import installed_packages
from multihot.errors import InputError, ShardError, list_first, plural
from multihot.files import read_json, temporary_name, write_json, write_text, writing
from multihot.json_shapes import BAD_IMAGES

log = logging.getLogger(__name__)

IMAGES_AT_ONCE = 32


class Decoding(Dataset):
    """Tries to decode each image: its item is the error of one that cannot be used, or None."""

    def __init__(self, manifest: Manifest):
        from multihot.data.pixels import PixelReader  # and timm with it, which scoring saved logits does not wait for

        self.manifest = manifest
        self.read = PixelReader(manifest.read)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: int) -> InputError | None:
        try:
            self.read(self.manifest.images[row])
        except InputError as error:
            return error  # raised, a worker would wrap it into a traceback
        return None


def drop_bad_images(manifest: Manifest, folder: Path, num_workers: int) -> Manifest:
    """Returns the manifest of the images that can be decoded; its `dropped` says which others there are, and why.

    The list is kept in the folder under a name that changes with the images (path, size, time), so that the next run
    need not look again. Process 0 looks, the others wait for its list.
    """
    path = folder / f"{state_of_images(manifest)}.json"
    if PartialState().is_main_process and not is_whole(path, len(manifest)):
        with writing(path, "Set data.cache_folder to another"):
            folder.mkdir(parents=True, exist_ok=True)
            temporary_name(path).touch()  # before the images are decoded
        bad = find_bad_images(manifest, num_workers)
        with writing(path, "Set data.cache_folder to another"):
            write_json(path, [asdict(image) | {"row": row} for row, image in bad.items()])
    PartialState().wait_for_everyone()
    found = read_json(path, BAD_IMAGES)
    if not found:
        return manifest
    dropped = tuple(BadImage(item["image"], item["reason"]) for item in found)
    log.warning(
        "%d of %d images cannot be used and are left out (data.bad_images=skip):\n%s",
        len(dropped), len(manifest), list_first([image.reason for image in dropped]),
    )  # fmt: skip
    if len(dropped) == len(manifest):
        raise InputError(
            f"none of {plural(len(manifest), 'image')} can be decoded; is data.root right?\n  {dropped[0].reason}"
        )
    rows = np.setdiff1d(np.arange(len(manifest)), [item["row"] for item in found])
    return replace(manifest.subset(rows), dropped=dropped)


def is_whole(path: Path, num_images: int) -> bool:
    """Returns whether a list that is kept can be read; one that is damaged is made anew."""
    try:
        return all(image["row"] < num_images for image in read_json(path, BAD_IMAGES))
    except InputError:
        return False


def find_bad_images(manifest: Manifest, num_workers: int) -> dict[int, BadImage]:
    """Returns the rows whose images cannot be decoded; raises ShardError if a file of many images cannot be read."""
    loader = DataLoader(Decoding(manifest), batch_size=IMAGES_AT_ONCE, num_workers=num_workers, collate_fn=list)
    bad, row = {}, 0
    with tqdm(total=len(manifest), desc="decoding every image once", unit="images", leave=False) as bar:
        for errors in loader:
            for error in errors:
                if isinstance(error, ShardError):
                    raise error
                if error is not None:
                    bad[row] = BadImage(manifest.images[row], str(error))
                row += 1
            bar.update(len(errors))
    return bad


def state_of_images(manifest: Manifest) -> str:
    """Returns a name that changes with the images' paths, sizes and times, and with what can be decoded here."""
    digest = hashlib.sha256(" ".join(installed_packages()).encode())
    for state in manifest.image_states():
        digest.update(state.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:24]


def save_dropped(manifest: Manifest, path: Path) -> None:
    """Writes the images that were left out, a line each, if there are any."""
    if manifest.dropped:
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "reason"])
        writer.writerows([image.image, image.reason] for image in manifest.dropped)
        write_text(path, text.getvalue())
