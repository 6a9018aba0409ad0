"""Divides a data set anew so that every part has the same label frequencies, and writes it as one file.

python scripts/split_data.py data=csv data.path=all.csv out=split.csv 'fractions={train:0.8,val:0.1,test:0.1}'
python scripts/split_data.py data=csv data.path=all.csv out=split.csv num_folds=5
"""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from scipy.sparse import csr_array

from multihot.cli import run_script
from multihot.command_line import quote, write_override
from multihot.data import create_reader
from multihot.data.clusters import join_clusters, read_clusters
from multihot.data.csv_writer import LEFT_OUT, choose_writer
from multihot.data.label_studio_tasks import TaskWriter, create_interface, folder_above
from multihot.data.splitting import Shares, check_fractions, describe_split, few_shot, k_folds, stratify
from multihot.errors import InputError, MissingSplitError, check_choice, list_first
from multihot.files import absolute, prepare_file, write_text, writing
from multihot.ownership import check_not_read
from multihot.settings.check import check_settings

if TYPE_CHECKING:
    from multihot.data.manifest import Manifest
    from multihot.labels import Group

OTHER_OUT = "give another file by out="
TASKS = ".json"
ANY = b""  # overwrite=true says that what is in a file may go


@hydra.main(version_base="1.3", config_path="../conf", config_name="split_data")
def main(cfg: DictConfig) -> None:
    """Writes the files, and prints the sizes of the parts, how well labels are divided, and how to train on it."""
    check_settings(cfg, "split_data")
    if (cfg.num_folds is None) == OmegaConf.is_missing(cfg, "fractions"):
        raise InputError("give either 'fractions={train:0.8,val:0.1,test:0.1}' or num_folds=5")
    names, wished = wished_parts(cfg)
    files = output_files(Path(cfg.out), cfg.num_folds, cfg.overwrite)
    for file in files:
        check_not_read(file, {**cfg.data, "clusters": cfg.clusters}, OTHER_OUT)
        prepare_file(file, ANY, OTHER_OUT)
    data, splits = read_all(create_reader(cfg.data), cfg.pool, names if cfg.num_folds is None else ("train", "val"))
    of_file = read_clusters(cfg.clusters, data.images, cfg.data.root if "root" in cfg.data else None)
    clusters = join_clusters(data.clusters, of_file)
    is_divided, is_tied = find_divided(splits, cfg.pool, clusters, data.images)
    rows, tied = np.flatnonzero(is_divided), np.flatnonzero(is_tied)
    targets = data.targets[rows]
    clusters = None if clusters is None else clusters[rows]
    if cfg.num_folds is None:
        parts = stratify(targets, wished, cfg.seed, clusters)
        divisions = [np.array(names)[parts]]
    else:
        parts = k_folds(targets, cfg.num_folds, cfg.seed, clusters)
        divisions = [np.where(parts == fold, "val", "train") for fold in range(cfg.num_folds)]
    print_parts(names, wished, parts, splits[np.isin(splits, cfg.pool, invert=True)])
    print(format_labels(data.labels, names, describe_split(targets, parts, wished), cfg.num_worst))
    for division in divisions:
        reduce_train(division, targets, cfg.num_shots, cfg.seed, clusters)
    new_splits = [replaced(replaced(splits, tied, LEFT_OUT), rows, division) for division in divisions]
    if files[0].suffix == TASKS:
        write_tasks(files, data, new_splits, cfg.image_root)
        return
    writer = choose_writer(data, new_splits, cfg.separator)
    for file, new_split in zip(files, new_splits, strict=True):
        with writing(file, OTHER_OUT):
            write_text(file, writer.format(data, new_split, file.parent))
    settings = writer.settings(data) | ({} if data.weights is None else {"data.weight_column": "weight"})
    print_commands(files, settings, data.groups)


def wished_parts(cfg: DictConfig) -> tuple[list[str], list[float]]:
    """Returns the names of the parts and the fraction of the images that each of them shall have."""
    from multihot.data.manifest import SPLITS  # imports torch, which --help need not wait for

    if cfg.num_folds is not None:
        return [f"fold {fold}" for fold in range(cfg.num_folds)], [1 / cfg.num_folds] * cfg.num_folds
    for name in cfg.fractions:
        check_choice("a part of fractions", name, SPLITS)
    if "train" not in cfg.fractions:
        raise InputError(f"fractions must have train, not only {', '.join(cfg.fractions)}")
    check_fractions(list(cfg.fractions.values()))
    return list(cfg.fractions), list(cfg.fractions.values())


def output_files(out: Path, num_folds: int | None, overwrite: bool) -> list[Path]:
    """Returns the files to write; raises InputError if one is there already, or is not called .csv or .json."""
    if out.suffix not in (".csv", TASKS):
        raise InputError(f"out={out} must end in .csv, or in {TASKS} for tasks of Label Studio")
    folds = [out.with_name(f"{out.stem}_fold{fold}{out.suffix}") for fold in range(num_folds or 0)]
    files = folds or [out]
    if out.suffix == TASKS:
        files.append(out.with_name(f"{out.name}.xml"))
    there = [str(file) for file in files if file.is_file()]
    if there and not overwrite:
        raise InputError(f"these files are there already; overwrite=true replaces them:\n{list_first(there)}")
    return files


def write_tasks(
    files: Sequence[Path], data: "Manifest", new_splits: Sequence[np.ndarray], image_root: str | None
) -> None:
    """Writes tasks of Label Studio, and as the last file their labelling interface; prints what to do with them."""
    *files, interface = files
    root = folder_above(data.images) if image_root is None else absolute(image_root)
    with writing(interface, OTHER_OUT):
        write_text(interface, create_interface(data.labels, data.groups))
    for file, new_split in zip(files, new_splits, strict=True):
        with writing(file, OTHER_OUT):
            write_text(file, TaskWriter(root).format(data, new_split, file.parent))
    print(
        f"written; import into a project of Label Studio that serves files from {root}, with the labelling interface "
        f"{interface}. Its export as JSON trains by:\n  python train.py data=label_studio data.path=<export>.json "
        f"{write_override('data.root', root)} {write_override('data.interface', str(interface))}"
    )


def read_all(read: Callable, pool: Sequence[str], names: Sequence[str]) -> tuple["Manifest", np.ndarray]:
    """Returns all images of a source as one Manifest, and the name of the split that each of them is in now, str (N,).

    Raises:
        InputError: a split keeps its images and shall get others, or the images are no files.
    """
    from multihot.data.manifest import SPLITS, Manifest

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
    data = Manifest.concatenate(list(manifests.values()))
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


def reduce_train(
    division: np.ndarray, targets: csr_array, num_shots: int | None, seed: int, clusters: np.ndarray | None
) -> None:
    """Leaves images of the train part out until each label has few positives; changes `division` (N,)."""
    if num_shots is None:
        return
    train = np.flatnonzero(division == "train")
    kept = train[few_shot(targets[train], num_shots, seed, None if clusters is None else clusters[train])]
    division[train] = LEFT_OUT
    division[kept] = "train"
    print(f"train keeps {len(kept):,} of {len(train):,} images, {num_shots} or more of each label that has them")


def find_divided(
    splits: np.ndarray, pool: Sequence[str], clusters: np.ndarray | None, images: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which images are divided, and which are left out: they belong to one that keeps its split, bool (N,)."""
    in_pool = np.isin(splits, pool)
    if clusters is None:
        return in_pool, np.zeros_like(in_pool)
    is_tied = in_pool & np.isin(clusters, clusters[~in_pool])
    if is_tied.any():
        first = list_first([images[row] for row in np.flatnonzero(is_tied)])
        print(f"{is_tied.sum():,} images of pool are left out: their clusters have images that are not in it\n{first}")
    return in_pool & ~is_tied, is_tied


def replaced(splits: np.ndarray, rows: np.ndarray, division: np.ndarray | str) -> np.ndarray:
    """Returns the splits with those of the given rows replaced."""
    result = splits.copy()
    result[rows] = division
    return result


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
        overrides = [write_override(key, value) for key, value in {"data.path": str(file), **settings}.items()]
        if groups:
            members = [
                f"{group.name}: {{labels: [{', '.join(map(quote, group.labels))}], none: {str(group.none).lower()}}}"
                for group in groups
            ]
            overrides.append(shlex.quote(f"data.groups={{{', '.join(members)}}}"))
        print(f"  python train.py experiment=photos {' '.join(overrides)}")


if __name__ == "__main__":
    run_script(main)
