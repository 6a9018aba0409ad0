"""Predictions: the logits and targets of a split, saved and read without the model, of any size."""

import hashlib
import json
import logging
import math
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from multihot import json_shapes
from multihot.data import source_settings
from multihot.data.manifest import Manifest
from multihot.errors import plural
from multihot.files import check_disk_space, damaged, link_or_copy, read_json, take_space, write_json, writing
from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.model.stored import CONFIG, WEIGHTS
from multihot.seal import find_fault, read_seal

log = logging.getLogger(__name__)

MATRICES, IMAGES = "predictions.safetensors", "images.json"
ORIGIN = "predictions.json"  # what the predictions depend on, and checksums of the other two
DTYPES = {"F32": torch.float32, "I8": torch.int8, "I64": torch.int64}  # by their names in safetensors
SIZES = {"F32": 4, "I8": 1, "I64": 8}  # bytes
TARGETS_AT_ONCE = 1 << 24  # entries
TWO_LOGITS = b'"multihot.model.heads.TwoLogit"'  # in config.json of a model that is stored as two logits a label


@dataclass(frozen=True)
class Predictions(LogitsAndTarget):
    """Logits float32 (N, C) and target (N, C), int8, or float32 with soft answers, of the images of a split.

    Those of a folder are mapped: read from the disk where they are used, and `blocks` and `label_chunks` keep no more
    than a part of them in memory.
    """

    space: LabelSpace | None = None  # None: of a folder of before, which does not say
    images: Sequence[str] = ()
    cluster: Tensor | None = None  # int64 (N,), images of one number belong together; None: that is not known
    mapped: mmap.mmap | None = field(default=None, repr=False)

    @classmethod
    def load(cls, folder: Path, space: LabelSpace | None = None) -> "Predictions":
        """Returns those of a folder; raises InputError if they are damaged.

        Args:
            space: of a folder of before.
        """
        matrices, mapped = map_matrices(folder / MATRICES)
        images = read_json(folder / IMAGES, json_shapes.LABELS)
        if len(images) != len(matrices["logits"]):
            raise damaged(folder / IMAGES, f"it names {plural(len(images), 'image')} of {len(matrices['logits'])}")
        origin = read_seal(folder, ORIGIN) or {}
        space = LabelSpace.from_config(origin["label_space"]) if "label_space" in origin else space
        return cls(**matrices, space=space, images=images, mapped=mapped)

    def release(self) -> None:
        """Lets go of the memory that was read through; the next use reads it from the disk again."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)


def map_matrices(path: Path) -> tuple[dict[str, Tensor], mmap.mmap]:
    """Returns `logits`, `target` and, if it is there, `cluster` of a safetensors file, mapped; raises InputError if it
    is damaged.
    """
    try:
        with path.open("rb") as file:
            layout = read_layout(file)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch warns of what cannot be written
        names = ("logits", "target", *({"cluster"} & layout.keys()))
        return {name: map_matrix(mapped, *layout[name]) for name in names}, mapped
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error


def read_layout(file: BinaryIO) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Returns type, shape and place of each matrix of a safetensors file."""
    size = int.from_bytes(file.read(8), "little")
    if size > os.fstat(file.fileno()).st_size:
        raise ValueError("its header is longer than itself")
    header = json.loads(file.read(size))
    parts = {name: part for name, part in header.items() if name != "__metadata__"}
    return {name: (part["dtype"], part["shape"], 8 + size + part["data_offsets"][0]) for name, part in parts.items()}


def map_matrix(mapped: mmap.mmap, dtype: str, shape: Sequence[int], start: int) -> Tensor:
    """Returns a matrix of a mapped file; raises ValueError if the file ends before it."""
    return torch.frombuffer(mapped, dtype=DTYPES[dtype], count=math.prod(shape), offset=start).view(*shape)


def create_predictions(folder: Path, data: Manifest, way_out: str) -> None:
    """Fills an empty folder with the targets and names of the images of a split, and makes room for their logits.

    Raises:
        InputError: the disk has no space for them.
    """
    shape, path = data.targets.shape, folder / MATRICES
    parts = {"logits": ("F32", shape), "target": ("F32" if data.is_soft else "I8", shape)}
    if data.clusters is not None:
        parts = {"cluster": ("I64", shape[:1])} | parts  # the first: it is read in whole words
    ends = np.cumsum([math.prod(size) * SIZES[kind] for kind, size in parts.values()]).tolist()
    header = {
        name: {"dtype": kind, "shape": list(size), "data_offsets": [start, end]}
        for (name, (kind, size)), start, end in zip(parts.items(), [0, *ends], ends, strict=False)
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as safetensors itself does
    with writing(path, way_out):
        check_disk_space(folder, ends[-1], "the predictions take", way_out)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + ends[-1])
        take_space(path)
        with path.open("r+b") as file:
            file.seek(8 + len(text))
            if data.clusters is not None:
                file.write(data.clusters.astype("<i8"))
            file.seek(8 + len(text) + header["target"]["data_offsets"][0])
            step = max(1, TARGETS_AT_ONCE // shape[1])
            for start in range(0, shape[0], step):
                file.write(data.dense_targets(slice(start, start + step)))
        write_json(folder / IMAGES, list(data.images))


class Share:
    """The rows of logits that this process writes into the file of a split, and how often it has written each (N,)."""

    def __init__(self, folder: Path):
        # A buffer would write what it has read before between two rows, over the rows of another process.
        self.file = (folder / MATRICES).open("r+b", buffering=0)
        _, (num_images, self.num_labels), self.start = read_layout(self.file)["logits"]
        self.counts = np.zeros(num_images, np.int32)

    def write(self, rows: np.ndarray, logits: np.ndarray) -> None:
        """Writes logits float32 (B, C) to their rows (B,)."""
        assert logits.dtype == np.float32
        assert logits.shape == (len(rows), self.num_labels)
        np.add.at(self.counts, rows, 1)
        gaps = np.flatnonzero(np.diff(rows) != 1) + 1
        for first, part in zip(rows[[0, *gaps]].tolist(), np.split(logits, gaps), strict=True):
            place, left = self.start + 4 * self.num_labels * first, memoryview(np.ascontiguousarray(part)).cast("B")
            while left:
                written = os.pwrite(self.file.fileno(), left, place)
                place, left = place + written, left[written:]


def identify(data: Manifest, space: LabelSpace, settings: Mapping) -> dict[str, object]:
    """Returns what predictions depend on besides the model: labels, data and preprocessing.

    The data are its labels, answers and images, with size and time of their files. What the model's own data_config
    says of the preprocessing is in its config.json.

    Args:
        settings: of the run.
    """
    states = hashlib.sha256(data.fingerprint().encode())
    for state in data.image_states():
        states.update(state.encode("utf-8", "surrogateescape") + b"\n")
    preprocessing = {name: settings[name] for name in ("mixed_precision", "kernels")}
    preprocessing["data"] = source_settings(settings["data"])
    text = json.dumps(preprocessing, sort_keys=True, default=str)
    origin = {
        "label_space": space.to_config(),
        "data": states.hexdigest(),
        "preprocessing": hashlib.sha256(text.encode()).hexdigest(),
    }
    if data.clusters is not None:  # they are saved with the logits
        origin["clusters"] = hashlib.sha256(data.clusters.astype("<i8")).hexdigest()
    return origin


def hash_model(folder: Path) -> str:
    """Returns a hash of config.json and weights of a `best/` folder, or that which its seal keeps: then both have been
    rewritten, and the model is the same.

    Raises:
        InputError: they cannot be read.
    """
    kept = (read_seal(folder) or {}).get("model")
    if kept is not None:
        return kept
    digest = hashlib.sha256()
    for path in (folder / CONFIG, folder / WEIGHTS):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
            if path.name == CONFIG and TWO_LOGITS in path.read_bytes():
                digest.update(b"one linear layer")  # what was predicted when it was two is rounded otherwise
        except OSError as error:
            raise damaged(path, error) from error
    return digest.hexdigest()


def find_same(folders: Sequence[Path], origin: Mapping) -> Path | None:
    """Returns the first of the folders whose predictions are of this origin and whole; None if there is none."""
    for folder in dict.fromkeys(folders):
        saved = read_seal(folder, ORIGIN) or {}
        if all(saved.get(name) == value for name, value in origin.items()):
            fault = find_fault(folder, ORIGIN)
            if fault is None:
                return folder
            log.warning("the predictions in %s are not used: %s", folder, fault)
    return None


def take_over(folder: Path, new: Path, way_out: str) -> None:
    """Puts the predictions of a folder into an empty one, without a copy where the disk is the same."""
    for name in (MATRICES, IMAGES, ORIGIN):
        with writing(new / name, way_out):
            link_or_copy(folder / name, new / name)
