"""Divides a data set anew so that every part has the same label frequencies, and writes it as one file for data=csv.

python scripts/split_data.py data=csv data.path=all.csv out=split.csv 'fractions={train:0.8,val:0.1,test:0.1}'
python scripts/split_data.py data=csv data.path=all.csv out=split.csv num_folds=5
"""

import csv
import io
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from scipy.sparse import coo_array, vstack
from scipy.sparse.csgraph import connected_components

from multihot.cli import run_script
from multihot.data import create_reader
from multihot.data.splitting import Shares, describe_split, few_shot, k_folds, stratify
from multihot.errors import InputError, MissingSplitError, check_choice, list_first
from multihot.files import write_text

if TYPE_CHECKING:
    from multihot.data.manifest import Manifest
    from multihot.labels import Group

SPLITS = ("train", "val", "test")
SEPARATORS = (" ", ";", "|", ",", "\t")
LEFT_OUT = ""  # the split of an image that is not written


@hydra.main(version_base="1.3", config_path="../conf", config_name="split_data")
def main(cfg: DictConfig) -> None:
    """Writes the files, and prints the sizes of the parts, how well labels are divided, and how to train on it."""

    if (cfg.num_folds is None) == OmegaConf.is_missing(cfg, "fractions"):
        raise InputError("give either 'fractions={train:0.8,val:0.1,test:0.1}' or num_folds=5")
    names, wished = wished_parts(cfg)
    files = output_files(Path(cfg.out), cfg.num_folds, cfg.overwrite)
    data, splits = read_all(create_reader(cfg.data), cfg.pool, names if cfg.num_folds is None else SPLITS[:2])
    rows = np.flatnonzero(np.isin(splits, cfg.pool))
    clusters = join_clusters(
        data.clusters, read_clusters(cfg.clusters, data, cfg.data.root if "root" in cfg.data else None)
    )
    clusters = None if clusters is None else clusters[rows]
    if cfg.num_folds is None:
        parts = stratify(data.targets[rows], wished, cfg.seed, clusters)
        divisions = [np.array(names)[parts]]
    else:
        parts = k_folds(data.targets[rows], cfg.num_folds, cfg.seed, clusters)
        divisions = [np.where(parts == fold, "val", "train") for fold in range(cfg.num_folds)]
    print_parts(names, wished, parts, splits[np.isin(splits, cfg.pool, invert=True)])
    print(format_labels(data.labels, names, describe_split(data.targets[rows], parts, wished), cfg.num_worst))
    for division in divisions:
        reduce_train(division, data, rows, cfg.num_shots, cfg.seed)
    new_splits = [replaced(splits, rows, division) for division in divisions]
    writer = choose_writer(data, new_splits, cfg.separator)
    for file, new_split in zip(files, new_splits, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, writer.format(data, new_split, file.parent))
    settings = writer.settings(data) | ({} if data.weights is None else {"data.weight_column": "weight"})
    print_commands(files, settings, data.groups)


def wished_parts(cfg: DictConfig) -> tuple[list[str], list[float]]:
    """Returns the names of the parts and the fraction of the images that each of them shall have."""
    if cfg.num_folds is not None:
        return [f"fold {fold}" for fold in range(cfg.num_folds)], [1 / cfg.num_folds] * cfg.num_folds
    for name in cfg.fractions:
        check_choice("a part of fractions", name, SPLITS)
    if "train" not in cfg.fractions:
        raise InputError(f"fractions must have train, not only {', '.join(cfg.fractions)}")
    return list(cfg.fractions), list(cfg.fractions.values())


def output_files(out: Path, num_folds: int | None, overwrite: bool) -> list[Path]:
    """Returns the files to write; raises InputError if one is there already, or is not called .csv."""
    if out.suffix != ".csv":
        raise InputError(f"out={out} must end in .csv")
    folds = [out.with_name(f"{out.stem}_fold{fold}.csv") for fold in range(num_folds or 0)]
    files = folds or [out]
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise InputError(f"these files are there already; overwrite=true replaces them:\n{list_first(there)}")
    return files


def read_all(read: Callable, pool: Sequence[str], names: Sequence[str]) -> tuple["Manifest", np.ndarray]:
    """Returns all images of a source as one Manifest, and the name of the split that each of them is in now, str (N,).

    Raises:
        InputError: a split keeps its images and shall get others, or the images are no files.
    """
    for split in pool:
        check_choice("a split of pool", split, SPLITS)
    manifests = {"train": read("train")}
    for split in SPLITS[1:]:
        manifest = read_if_there(read, split, manifests["train"].labels)
        if manifest is not None:
            manifests[split] = manifest
    mixed = [split for split in manifests if split in names and split not in pool]
    if mixed:
        raise InputError(
            f"{mixed[0]} is not in pool and keeps its images, but is also to get new ones; "
            f"add it to pool or remove it from fractions"
        )
    if not set(pool) & set(manifests):
        raise InputError(f"the data has none of the splits of pool; it has {', '.join(manifests)}")
    data = concatenate(list(manifests.values()))
    no_file = next((image for image in data.images if not os.path.isfile(image)), None)
    if no_file is not None:
        raise InputError(f"only images that are files of their own can be divided anew, and {no_file} is none")
    return data, np.repeat(list(manifests), [len(manifest) for manifest in manifests.values()])


def read_if_there(read: Callable, split: str, labels: tuple[str, ...]) -> "Manifest | None":
    """Returns a split of the source, None if it has no such images."""
    try:
        return read(split, labels=labels)
    except MissingSplitError:
        return None


def concatenate(manifests: Sequence["Manifest"]) -> "Manifest":
    """Returns the images of all manifests as one."""

    def join(name: str) -> np.ndarray | None:
        values = [getattr(manifest, name) for manifest in manifests]
        return None if any(value is None for value in values) else np.concatenate(values)

    images = [image for manifest in manifests for image in manifest.images]
    targets = vstack([manifest.targets for manifest in manifests], format="csr")
    joined = {name: join(name) for name in ("weights", "clusters")}
    return replace(manifests[0], images=images, targets=targets, **joined, shards=None, places=None, dropped=())


def read_clusters(file: str | None, data: "Manifest", root: str | None) -> np.ndarray | None:
    """Returns the cluster of each image by a CSV file, int64 (N,); an image that it does not list is alone."""
    if file is None:
        return None
    root = os.path.abspath(os.path.dirname(file) if root is None else root)
    row_of = {image: row for row, image in enumerate(data.images)}
    clusters, numbers, num_listed = np.arange(len(data)), {}, 0
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            for line in csv.DictReader(text, strict=True):
                if line.get("image") is None or line.get("cluster") is None:
                    raise InputError(f"{file} must have the columns image and cluster in every row, not {line}")
                row = row_of.get(os.path.normpath(os.path.join(root, line["image"].strip())))
                if row is not None:
                    clusters[row] = len(data) + numbers.setdefault(line["cluster"].strip(), len(numbers))
                    num_listed += 1
    except OSError as error:
        raise InputError(f"cannot read clusters={file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"clusters={file} is not CSV in UTF-8: {error}") from error
    if not num_listed:
        raise InputError(f"{file} lists none of the images; its paths start from {root} (see data.root)")
    print(
        f"{file}: {len(numbers):,} clusters with {num_listed:,} of the {len(data):,} images; each other one is alone\n"
    )
    return clusters


def join_clusters(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """Returns clusters of images that are together in the first or in the second, also by way of a third image.

    >>> join_clusters(np.array([0, 0, 1, 2]), np.array([7, 8, 8, 9])).tolist()
    [0, 0, 0, 1]
    """
    if first is None or second is None:
        return second if first is None else first
    num_images = len(first)
    first, second = (np.unique(numbers, return_inverse=True)[1].ravel() for numbers in (first, second))
    nodes = np.concatenate([num_images + first, num_images + first.max() + 1 + second])
    edges = (np.ones(2 * num_images, bool), (np.tile(np.arange(num_images), 2), nodes))
    size = int(nodes.max()) + 1
    return connected_components(coo_array(edges, shape=(size, size)), directed=False)[1][:num_images].astype(np.int64)


def reduce_train(division: np.ndarray, data: "Manifest", rows: np.ndarray, num_shots: int | None, seed: int) -> None:
    """Leaves images of the train part out until each label has few positives; changes `division` (N,)."""
    if num_shots is None:
        return
    train = np.flatnonzero(division == "train")
    kept = train[few_shot(data.targets[rows[train]], num_shots, seed)]
    division[train] = LEFT_OUT
    division[kept] = "train"
    print(f"train keeps {len(kept):,} of {len(train):,} images, {num_shots} or more of each label that has them")


def replaced(splits: np.ndarray, rows: np.ndarray, division: np.ndarray) -> np.ndarray:
    """Returns the splits with those of the given rows replaced."""
    result = splits.copy()
    result[rows] = division
    return result


@dataclass(frozen=True)
class CellWriter:
    """Writes one row an image, all its labels in one cell."""

    separator: str

    def format(self, data: "Manifest", splits: np.ndarray, folder: Path) -> str:
        """Returns the text of the file."""
        has_unknown = bool((data.targets.data == -1).any())
        header = ["image", "split", "labels", *["unknown"] * has_unknown, *["weight"] * (data.weights is not None)]

        def rows() -> Iterable[list]:
            for row, image in each_image(data, splits, folder):
                columns, values = data.sparse_target(row)
                present, unknown = columns[values > 0], columns[values == -1]
                cells = [self.separator.join(data.labels[k] for k in part) for part in (present, unknown)]
                yield [image, splits[row], *cells[: 1 + has_unknown], *weight_of(data, row)]

        return format_csv(header, rows())

    def settings(self, data: "Manifest") -> dict[str, str]:
        """Returns the settings of data=csv that read the file, where they differ from the default."""
        unknown = {"data.unknown_column": "unknown"} if (data.targets.data == -1).any() else {}
        return ({} if self.separator == " " else {"data.separator": self.separator}) | unknown


class PairWriter:
    """Writes one row an image and answer, for all that a cell of labels cannot say."""

    def format(self, data: "Manifest", splits: np.ndarray, folder: Path) -> str:
        """Returns the text of the file; a label without any answer in train gets one that says what is true anyway."""
        header = ["image", "split", "label", "value", *["weight"] * (data.weights is not None)]
        missing = labels_not_in_train(data, splits)

        def rows() -> Iterable[list]:
            nonlocal missing
            for row, image in each_image(data, splits, folder):
                columns, values = data.sparse_target(row)
                said = values != data.unlisted
                answers = [
                    (data.labels[column], format_value(value))
                    for column, value in zip(columns[said], values[said], strict=True)
                ]
                if splits[row] == "train":
                    answers += [(data.labels[column], data.unlisted) for column in missing]
                    missing = []
                for answer in answers or [("", "")]:
                    yield [image, splits[row], *answer, *weight_of(data, row)]

        return format_csv(header, rows())

    def settings(self, data: "Manifest") -> dict[str, str]:
        """Returns the settings of data=csv that read the file, where they differ from the default."""
        settings = {"data.layout": "pairs", "data.labels_column": "label", "data.value_column": "value"}
        return settings | ({"data.unlisted_pairs": "unknown"} if data.unlisted == -1 else {})


def choose_writer(data: "Manifest", new_splits: Sequence[np.ndarray], separator: str | None) -> CellWriter | PairWriter:
    """Returns what writes a file that is read to the same labels and answers.

    Raises:
        InputError: a label contains the separator.
    """
    if data.is_soft or data.unlisted == -1 or any(len(labels_not_in_train(data, splits)) for splits in new_splits):
        return PairWriter()
    candidates = SEPARATORS if separator is None else (separator,)
    for candidate in candidates:
        if candidate and not any(candidate in label for label in data.labels):
            return CellWriter(candidate)
    if separator is None:
        raise InputError(f"labels contain each of {SEPARATORS}; choose another separator=")
    bad = [label for label in data.labels if separator in label]
    raise InputError(f"separator={separator!r} must not be empty or in a label:\n{list_first(bad)}")


def labels_not_in_train(data: "Manifest", splits: np.ndarray) -> np.ndarray:
    """Returns the columns of the labels about which no train image says anything; data=csv would not know them."""
    train = data.targets[np.flatnonzero(splits == "train")]
    num_answers = np.bincount(train.indices[train.data != data.unlisted], minlength=len(data.labels))
    return np.flatnonzero(num_answers == 0)


def each_image(data: "Manifest", splits: np.ndarray, folder: Path) -> Iterable[tuple[int, str]]:
    """Yields the row and the path of each image that is written: relative to the folder if it is in there."""
    start = os.path.join(os.path.abspath(folder), "")
    for row in np.flatnonzero(splits != LEFT_OUT).tolist():
        yield row, os.path.abspath(data.images[row]).removeprefix(start)


def weight_of(data: "Manifest", row: int) -> list[str]:
    """Returns the cell of an image's weight, none if there are no weights."""
    return [] if data.weights is None else [format_value(data.weights[row])]


def format_value(value: np.float32) -> str:
    """Returns the shortest number that is read as the same float32.

    >>> format_value(np.float32(0.1)), format_value(np.float32(-1))
    ('0.1', '-1')
    """
    return str(value).removesuffix(".0")


def format_csv(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Returns the rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def print_parts(names: Sequence[str], wished: Sequence[float], parts: np.ndarray, kept: np.ndarray) -> None:
    """Prints the size of each part."""
    print(f"{'part':8} {'images':>10} {'share':>8} {'wished':>8}")
    for name, fraction, size in zip(names, wished, np.bincount(parts, minlength=len(names)), strict=True):
        print(f"{name:8} {size:>10,} {size / len(parts):>8.2%} {fraction:>8.2%}")
    for name, size in zip(*np.unique(kept, return_counts=True), strict=True):
        print(f"{name:8} {size:>10,}   as it was (not in pool)")


def format_labels(labels: Sequence[str], names: Sequence[str], shares: Shares, num_worst: int) -> str:
    """Returns how well the labels are divided, and a table of those that are furthest from the wish."""
    totals = shares.num_positives.sum(axis=1)
    num_near, num_present = int(((shares.images_off < 1) & (totals > 0)).sum()), int((totals > 0).sum())
    lines = [
        f"\n{num_near:,} of {num_present:,} labels are less than one image from the wish in every part. "
        "Positives of the labels that are furthest, and the wish:"
    ]
    worst = shares.worst(num_worst)
    width = max([len("label"), *(min(len(labels[column]), 40) for column in worst)])
    lines.append(f"{'label':{width}} {'positives':>10}" + "".join(f"{name:>20}" for name in names))
    for column in worst:
        cells = "".join(
            f"{f'{count:,} ({totals[column] * fraction:,.1f})':>20}"
            for count, fraction in zip(shares.num_positives[column], shares.wished, strict=True)
        )
        lines.append(f"{labels[column][:40]:{width}} {totals[column]:>10,}{cells}")
    return "\n".join(lines) + "\n"


def print_commands(files: Sequence[Path], settings: dict[str, str], groups: Sequence["Group"]) -> None:
    """Prints the commands that train on the files."""
    print("written; to train:")
    for file in files:
        overrides = [override(key, value) for key, value in {"data.path": str(file), **settings}.items()]
        if groups:
            members = [
                f"{group.name}: {{labels: [{', '.join(map(quote, group.labels))}], none: {str(group.none).lower()}}}"
                for group in groups
            ]
            overrides.append(shlex.quote(f"data.groups={{{', '.join(members)}}}"))
        print(f"  python train.py experiment=photos {' '.join(overrides)}")


def override(key: str, value: str) -> str:
    """Returns a setting as it is typed in a shell.

    >>> print(override("data.path", "split.csv"), override("data.separator", ";"))
    data.path=split.csv 'data.separator=";"'
    """
    return shlex.quote(f"{key}={value if re.fullmatch(r'[A-Za-z_./][-A-Za-z0-9_./]*', value) else quote(value)}")


def quote(text: str) -> str:
    """Returns a text that hydra takes as it is."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and '\\"'), text) + '"'


if __name__ == "__main__":
    run_script(main)
