"""Finds answers of a data set that are probably wrong, by heads that have not seen them.

python scripts/find_label_errors.py run=runs/<name>
python scripts/find_label_errors.py run=runs/<name> split=val
python scripts/find_label_errors.py run=runs/<name> plant=0.05
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from multihot.cli import run_script
from multihot.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from multihot.data.manifest import Manifest
    from multihot.decisions.suspects import Suspects
    from multihot.training.out_of_fold import Source, Unseen

log = logging.getLogger("multihot")

WAY_OUT = "give another folder by out="
SUMMARY, SUSPECTS = "label_errors.json", "suspects.csv"


@hydra.main(version_base="1.3", config_path="../conf", config_name="find_label_errors")
def main(cfg: DictConfig) -> None:
    """Writes index.html, suspects.csv, tasks for Label Studio and the predictions; prints what was found."""
    from accelerate import PartialState  # what loads torch, --help need not wait for

    from multihot.evaluation.predict import staging
    from multihot.files import absolute
    from multihot.processes.session import start_processes
    from multihot.run.folder import in_process_0
    from multihot.settings.check import check_settings
    from multihot.settings.saved import to_plain
    from multihot.training.out_of_fold import fit_heads, load_saved

    check_settings(cfg, "find_label_errors")
    start_processes()
    folders = [cfg.run] if isinstance(cfg.run, str | int) else to_plain(cfg.run)
    if len(folders) > 1 and cfg.split == "train":
        raise InputError(
            "several runs are those of folds, each with a val part that it has not learned from: split=val"
        )
    sources = [read_source(cfg, str(folder)) for folder in folders]
    first = sources[0].run.folder
    name = "label_errors_planted" if cfg.plant else "label_errors"
    folder = first / name if cfg.out is None else Path(absolute(cfg.out))
    in_process_0(partial(check_output, folder, sources))
    predict = fit_heads if cfg.split == "train" else partial(load_saved, split=cfg.split)
    parts = [predict(source) for source in sources]
    with staging(folder) as new:
        if PartialState().is_main_process:
            write(cfg, new, folder, sources, parts)


def read_source(cfg: DictConfig, folder: str) -> "Source":
    """Returns the data of a run, with errors planted if that is asked for, and its folds."""
    from multihot.training.out_of_fold import open_source

    changes = {key: cfg[key] for key in ("data", "batch_size", "num_workers")}
    folds = {key: cfg[key] for key in ("num_folds", "seed", "clusters", "plant")}
    return open_source(folder, cfg.split, changes, **folds)


def check_output(folder: Path, sources: Sequence["Source"]) -> None:
    """Raises InputError unless the result can be written to a folder, and replaces only one that nobody edited."""
    from multihot.files import prepare_folder
    from multihot.ownership import LABEL_ERRORS, check_not_read, find_run_around
    from multihot.seal import checksum, read_seal

    run, around = sources[0].run, find_run_around(folder)
    is_beside = folder.parent.resolve() == run.folder.resolve() and not run.owns(folder.name)
    if around is not None and not is_beside:
        raise InputError(f"out={folder} is, or is in, the run {around}, and not what this would write there: {WAY_OUT}")
    prepare_folder(folder, LABEL_ERRORS, WAY_OUT)
    suspects = folder / SUSPECTS
    for source in sources:
        corrections = {"data.corrections": source.recipe.settings["data"]["corrections"]}
        check_not_read(suspects, corrections, f"{WAY_OUT}, or move it away")
    stamp = (read_seal(folder, SUMMARY) or {"files": {}})["files"].get(SUSPECTS)
    if suspects.exists() and stamp != [suspects.stat().st_size, checksum(suspects)]:
        raise InputError(f"{suspects} has been edited, and would be replaced: move it away, or {WAY_OUT}")


def write(cfg: DictConfig, new: Path, folder: Path, sources: Sequence["Source"], parts: Sequence["Unseen"]) -> None:
    """Fills a staged folder with what was found, moves it into place, and prints it."""
    import numpy as np

    from multihot.data.label_studio_tasks import folder_above
    from multihot.data.manifest import Manifest
    from multihot.decisions.suspects import find_suspects, measure_doubt, score_planted
    from multihot.files import absolute, publish_folder, writing
    from multihot.ownership import LABEL_ERRORS
    from multihot.report.label_errors import list_cases, save_files
    from multihot.seal import seal

    data, space = Manifest.concatenate([source.data for source in sources]), sources[0].space
    probability, target = np.concatenate([part.probability for part in parts]), data.dense_targets()
    doubt = measure_doubt(probability, target, space)
    suspects = find_suspects(doubt, probability, target, space)
    shown = suspects.first(cfg.num_shown)
    is_planted = np.concatenate([source.is_planted for source in sources]) if cfg.plant else None
    summary = {
        "split": cfg.split,
        **data.identity(),
        "by": "heads on frozen features" if cfg.split == "train" else "the run's own predictions",
        "num_folds": cfg.num_folds,
        "seed": cfg.seed,
        "num_answers": int(np.count_nonzero(target != -1)),
        "num_suspects": len(suspects),
        "num_shown": len(shown),
        "planted": score_planted(doubt, is_planted) if cfg.plant else None,
        "image_root": absolute(cfg.image_root) if cfg.image_root else folder_above(data.images),
        "labels": count_labels(suspects, target, data.labels),
    }
    cases = list_cases(shown, data, probability)
    with writing(folder, WAY_OUT):
        save_predictions(new, data, sources, parts)
        save_files(new, cases, data, f"{sources[0].run.folder.name}, {cfg.split}", summary)
        seal(new, summary, SUMMARY)
        publish_folder(folder, LABEL_ERRORS)
    tell(summary, folder)


def count_labels(suspects: "Suspects", target: "np.ndarray", labels: Sequence[str]) -> list[dict]:
    """Returns how many answers of each label are known, and how many of those are suspected of either kind."""
    import numpy as np

    is_present = target[suspects.rows, suspects.columns] >= 0.5
    likely_absent, likely_present = (
        np.bincount(suspects.columns[kind], minlength=len(labels)).tolist() for kind in (is_present, ~is_present)
    )
    num_known = (target != -1).sum(axis=0).tolist()
    names = ("label", "num_known", "likely_absent", "likely_present")
    return [
        dict(zip(names, row, strict=True)) for row in zip(labels, num_known, likely_absent, likely_present, strict=True)
    ]


def save_predictions(folder: Path, data: "Manifest", sources: Sequence["Source"], parts: Sequence["Unseen"]) -> None:
    """Writes the logits as those of a split are, and beside them probabilities, folds, and what was planted."""
    import numpy as np
    import torch

    from multihot.evaluation.predictions import ORIGIN, Share, create_predictions
    from multihot.files import save_tensors
    from multihot.seal import seal

    create_predictions(folder, data, WAY_OUT)
    share = Share(folder)
    share.write(np.arange(len(data)), np.concatenate([part.logits.numpy() for part in parts]))
    share.file.close()
    seal(folder, {"label_space": sources[0].space.to_config()}, ORIGIN)
    tensors = {
        "probability": torch.from_numpy(np.concatenate([part.probability for part in parts])),
        "fold": torch.from_numpy(np.concatenate([source.folds for source in sources])),
    }
    if sources[0].is_planted is not None:
        tensors["planted"] = torch.from_numpy(np.concatenate([source.is_planted for source in sources]))
    save_tensors(folder / "out_of_fold.safetensors", tensors)


def tell(summary: dict, folder: Path) -> None:
    """Prints how many answers are suspected, of which labels, and what comes next."""
    from multihot.labels import LABEL_WIDTH, show_label

    ranked = sorted(summary["labels"], key=lambda row: -(row["likely_absent"] + row["likely_present"]))[:10]
    width = min(LABEL_WIDTH, max(len("label"), *(len(show_label(row["label"])) for row in ranked)))
    lines = [f"{'label':{width}} {'known':>9} {'likely absent':>14} {'likely present':>15}"]
    lines += [
        f"{show_label(row['label']):{width}} {row['num_known']:>9,} {row['likely_absent']:>14,} "
        f"{row['likely_present']:>15,}"
        for row in ranked
    ]
    log.info(
        "%s of %s known answers are suspected:\n%s",
        f"{summary['num_suspects']:,}",
        f"{summary['num_answers']:,}",
        "\n".join(lines),
    )
    if summary["planted"]:
        log.info(
            "planted errors: average precision %(ap).3f (by chance %(ap_at_random).3f); of the %(num_planted)d worst "
            "%(precision).3f are planted",
            summary["planted"],
        )
    log.info(
        "look at them: %s\nthen train with data.corrections=<what you saved there>, or an edited copy of %s",
        folder / "index.html",
        folder / SUSPECTS,
    )


if __name__ == "__main__":
    run_script(main)
