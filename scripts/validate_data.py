"""Reads all images and labels of a data set once, and reports what is wrong with them.

python scripts/validate_data.py data=csv data.path=my.csv
python scripts/validate_data.py data=csv data.path=my.csv --strict
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

if TYPE_CHECKING:
    from multihot.data.table.table import Table

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="../conf", config_name="validate_data")
def main(cfg: DictConfig) -> None:
    """Prints the findings and writes report.html, report.json and clusters.csv; ends with exit code 0 or 1."""
    from multihot.data import create_reader
    from multihot.data.checks.agreement import NO_ALPHA, has_alpha, measure_agreement
    from multihot.data.checks.findings import DataSet, check_kinds, find_faults
    from multihot.data.checks.report import create_report, format_report, save_report
    from multihot.data.clusters import save_clusters
    from multihot.files import absolute, prepare_folder, publish_folder, stage_folder, writing
    from multihot.ownership import REPORT
    from multihot.settings.check import check_settings

    check_settings(cfg, "validate_data")
    check_kinds(cfg.ignore)
    folder, way_out = Path(absolute(cfg.out)), "give another folder by out="
    prepare_folder(folder, REPORT, way_out)
    read = create_reader(cfg.data)
    manifests, table_errors, table_warnings = read_splits(cfg, read)
    agreement = measure_agreement(find_table(read))
    if agreement and not has_alpha():
        table_warnings.append(NO_ALPHA)
    data = DataSet(manifests, OmegaConf.to_container(cfg.data))
    facts = inspect(manifests, cfg.num_workers)
    settings = {key: cfg[key] for key in ("tiny_side", "max_distance", "min_similarity", "ignore")}
    tables = {"table_errors": table_errors, "table_warnings": table_warnings}
    findings, clusters = find_faults(data, facts, **tables, **settings)
    looks_like = describe_format(cfg.data, table_errors)
    report = create_report(data, facts, findings, agreement=agreement, looks_like=looks_like)
    with writing(folder, way_out):
        new = stage_folder(folder)
        save_report(new, report, data, facts, findings, title=str(cfg.data.get("path") or "data"))
        save_clusters(new / "clusters.csv", [data.image(row) for row in range(len(data))], clusters)
        publish_folder(folder, REPORT)
    log.info("%s\nwritten to %s", format_report(report), Path(cfg.out) / "report.html")
    if report["problems"] or (cfg.strict and report["warnings"]):
        sys.exit(1)


class Warnings(logging.Handler):
    """Keeps what is warned of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the text of a record, unless it is about labels that look alike, which are found here too."""
        if not record.name.endswith(".lookalikes"):
            self.texts.append(record.getMessage())


def find_table(read: Callable) -> "Table | None":
    """Returns the table that a reader has filled; None if it has none, or could not fill it."""
    from multihot.data.corrections import CorrectedReader

    reader = read.read if isinstance(read, CorrectedReader) else read
    return vars(reader).get("table")  # a cached property


def describe_format(data: DictConfig, errors: Sequence[str]) -> str | None:
    """Returns which other reader the files of the data look like, unless an error says so already."""
    from multihot.data.formats.recognize import recognize

    found = recognize(data.path) if data.get("path") else None
    is_chosen = found is None or found.known.data == HydraConfig.get().runtime.choices["data"]
    return None if is_chosen or any(str(found) in error for error in errors) else str(found)


def read_splits(cfg: DictConfig, read: Callable) -> tuple[dict, list[str], list[str]]:
    """Returns the manifest of each split that the data has, what is wrong with the others, and what is warned of."""
    from multihot.data.manifest import SPLITS
    from multihot.data.value_range import read_value_range
    from multihot.errors import InputError, MissingSplitError
    from multihot.metrics import check_group_names

    manifests, errors, warnings = {}, [], Warnings()
    log.addHandler(warnings)
    value_range = read_value_range(cfg.data.value_range, cfg.data.window)
    for split in SPLITS:
        labels = manifests["train"].labels if manifests else None
        try:
            manifest = read(split, labels=labels, must_exist=False)
            check_group_names(manifest.label_space(cfg.single_label, "sigmoid").groups)
            manifests[split] = manifest.with_value_range(value_range)
        except InputError as error:
            if split == "train" or not isinstance(error, MissingSplitError):
                errors.append(str(error))
            if split == "train":  # which has the labels that the others need
                break
    log.removeHandler(warnings)
    return manifests, errors, list(dict.fromkeys(warnings.texts))


def inspect(manifests: dict, num_workers: int | None) -> list:
    """Returns the facts of all images, split after split."""
    from tqdm import tqdm

    from multihot.data.checks.inspection import inspect_images

    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = []
    for split, manifest in manifests.items():
        progress = tqdm(desc=split, total=len(manifest), unit=" images", disable=None, leave=False)
        with progress:
            for fact in inspect_images(manifest.images, manifest.read, num_workers):
                facts.append(fact)
                progress.update()
    return facts


if __name__ == "__main__":
    sys.argv = ["strict=true" if argument == "--strict" else argument for argument in sys.argv]  # hydra has no flags
    run_script(main)
