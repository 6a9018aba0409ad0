"""Compares runs: one row for each combination of settings that differ, with mean and spread over seeds, best first.

python scripts/compare_runs.py runs                          what differs is found
python scripts/compare_runs.py runs --by loss,head.start     only these settings, or groups of settings
python scripts/compare_runs.py runs --score test/map         needs evaluate.py split=test of each run
"""

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from multihot.errors import InputError
from multihot.run import flatten

NOT_COMPARED = ("seed", "name", "runs_folder", "tracker", "resume", "data.feature_cache", "mixed_precision", "kernels")


def main() -> int:
    """Prints the table; returns 1 and says why if there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with run folders in it")
    parser.add_argument("--by", default="", help="settings or groups of settings, divided by commas")
    parser.add_argument("--score", default="val/map", help="<split>/<metric>, of the best epoch")
    arguments = parser.parse_args()
    try:
        runs = read_runs(arguments.folder, arguments.score)
        print(format_table(compare(runs, [key for key in arguments.by.split(",") if key]), arguments.score))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_runs(folder: Path, score: str) -> list[dict]:
    """Returns settings (flat), the score before training and the score of each run that has one.

    Raises:
        InputError: no run has the score.
    """
    split, _, metric = score.partition("/")
    runs = []
    for config in sorted(folder.glob("*/config.yaml")):
        metrics, history = config.parent / split / "metrics.json", config.parent / "history.json"
        if not (metrics.exists() and history.exists()):
            continue
        scores, first = json.loads(metrics.read_text()), json.loads(history.read_text())[0]
        if metric in scores:
            settings = flatten(OmegaConf.load(config))
            runs.append({"settings": settings, "before": first.get(score), "score": scores[metric]})
    if not runs:
        raise InputError(f"no run in {folder} has {score} (a run folder has {split}/metrics.json)")
    return runs


def compare(runs: Sequence[dict], by: Sequence[str]) -> list[dict]:
    """Returns a row for each combination of settings: `setting`, `before` and `scores` of its runs; best mean first."""
    keys = {key for run in runs for key in run["settings"]}
    differing = sorted(key for key in keys if len({str(run["settings"].get(key, "absent")) for run in runs}) > 1)
    chosen = [key for key in differing if is_chosen(key, by)]
    chosen = [key for key in chosen if not follows_from_class(key, chosen, [run["settings"] for run in runs])]
    groups = defaultdict(list)
    for run in runs:
        groups[describe(run["settings"], chosen)].append(run)
    rows = [
        {
            "setting": setting,
            "before": known(run["before"] for run in group),
            "scores": known(r["score"] for r in group),
        }
        for setting, group in groups.items()
    ]
    return sorted(rows, key=lambda row: -statistics.fmean(row["scores"] or [-math.inf]))


def follows_from_class(key: str, chosen: Sequence[str], settings: Sequence[dict]) -> bool:
    """Returns whether a setting of a class is always the same with that class, so that its name says enough.

    >>> settings = [{"loss._target_": "Bce"}, {"loss._target_": "Focal", "loss.gamma": 2.0}]
    >>> follows_from_class("loss.gamma", ["loss._target_", "loss.gamma"], settings)
    True
    """
    for target in chosen:
        if key != target and target.endswith("._target_") and key.startswith(target.removesuffix("_target_")):
            return len({(one.get(target), str(one.get(key))) for one in settings}) == len(
                {one.get(target) for one in settings}
            )
    return False


def is_chosen(key: str, by: Sequence[str]) -> bool:
    """Returns whether a setting tells runs apart: one of `by` or inside of it; without `by`, any that changes a result.

    >>> is_chosen("loss.function.gamma", ["loss"]), is_chosen("seed", []), is_chosen("lossy", ["loss"])
    (True, False, False)
    """
    names = by or NOT_COMPARED
    return any(key == name or key.startswith(f"{name}.") for name in names) == bool(by)


def describe(settings: dict, keys: Iterable[str]) -> str:
    """Returns the values of the settings that tell a run apart; of a class the last part of its name.

    >>> describe({"head.layer._target_": "multihot.CSRA", "epochs": 3}, ["head.layer._target_", "epochs"])
    'head.layer=CSRA epochs=3'
    """
    told = [(key, settings[key]) for key in keys if key in settings and not key.endswith("_partial_")]
    parts = [
        f"{key.removesuffix('._target_')}={str(value).rsplit('.', 1)[-1] if key.endswith('_target_') else value}"
        for key, value in told
    ]
    return " ".join(parts) or "all the same"


def known(values: Iterable[float | None]) -> list[float]:
    """Returns the values that are numbers."""
    return [value for value in values if value is not None]


def format_table(rows: Sequence[dict], score: str) -> str:
    """Returns the rows as a table in Markdown: mean and standard deviation over the runs of a row."""
    lines = [f"| setting | runs | {score} before training | {score} |", "|---|---|---|---|"]
    lines += [
        f"| {row['setting']} | {len(row['scores'])} | {spread(row['before'])} | {spread(row['scores'])} |"
        for row in rows
    ]
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation.

    >>> spread([0.5, 0.7]), spread([0.5]), spread([])
    ('0.600 ± 0.141', '0.500', '-')
    """
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
