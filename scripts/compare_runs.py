"""Compares runs: one row for each combination of settings that differ, with mean and spread over seeds, best first.

python scripts/compare_runs.py runs                          what differs is found
python scripts/compare_runs.py runs --by loss,head.start     only these settings, or groups of settings
python scripts/compare_runs.py runs --score test/map         needs evaluate.py split=test of each run
python scripts/compare_runs.py runs --score val/ranking_loss --score val/map --csv runs.csv --html runs.html
"""

import argparse
import csv
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
from omegaconf import OmegaConf

from multihot.errors import InputError
from multihot.settings import flatten
from multihot.validation import is_better

NOT_COMPARED = (
    "seed", "name", "runs_folder", "resume", "tracker", "checkpoint", "log_every", "num_workers", "mixed_precision",
    "kernels", "data.feature_cache", "data.cache_folder", "data.cache_path", "data.image_cache_path", "data.index_path",
)  # fmt: skip


def main() -> int:
    """Prints the table and writes it where that is wanted; returns 1 and says why if there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with run folders in it")
    parser.add_argument("--by", default="", help="settings or groups of settings, divided by commas")
    parser.add_argument(
        "--score", action="append", help="<split>/<metric>, of the best epoch; of several, the first decides the order"
    )
    parser.add_argument("--csv", type=Path, help="file for the table, a column a setting")
    parser.add_argument("--html", type=Path, help="file for the table as a page")
    arguments = parser.parse_args()
    scores = arguments.score or ["val/map", "test/map"]
    try:
        runs = read_runs(arguments.folder, scores)
        if not arguments.score and all(run["scores"]["test/map"] is None for run in runs):
            scores = ["val/map"]
        keys, rows = compare(runs, [key for key in arguments.by.split(",") if key], scores[0])
        print(format_table(rows, scores))
        for path, create in ((arguments.csv, write_csv), (arguments.html, write_html)):
            if path is not None:
                create(path, keys, rows, scores)
                print(f"{path} written", file=sys.stderr)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_runs(folder: Path, scores: Sequence[str]) -> list[dict]:
    """Returns name, settings (flat), the first score before training and all scores of each run that has the first.

    Raises:
        InputError: no run has the score.
    """
    runs = []
    for config in sorted(folder.glob("*/config.yaml")):
        run, history = config.parent, config.parent / "history.json"
        found = {score: read_score(run, score) for score in scores}
        if found[scores[0]] is not None and history.exists():
            before = json.loads(history.read_text())[0].get(scores[0])
            runs.append(
                {"name": run.name, "settings": flatten(OmegaConf.load(config)), "before": before, "scores": found}
            )
    if not runs:
        split = scores[0].partition("/")[0]
        raise InputError(f"no run in {folder} has {scores[0]} (a run folder has {split}/metrics.json)")
    return runs


def read_score(run: Path, score: str) -> float | None:
    """Returns a score of a run; None if it has not been measured."""
    split, _, metric = score.partition("/")
    metrics = run / split / "metrics.json"
    return json.loads(metrics.read_text()).get(metric) if metrics.exists() else None


def compare(runs: Sequence[dict], by: Sequence[str], score: str) -> tuple[list[str], list[dict]]:
    """Returns the settings that differ, and a row for each combination of them; the best mean of the score first.

    A row has `setting` (in words), `values` (of the settings), `names` of its runs, and what they measured: `before`
    and `scores`.
    """
    keys = {key for run in runs for key in run["settings"]}
    differing = sorted(key for key in keys if len({str(run["settings"].get(key, "absent")) for run in runs}) > 1)
    chosen = [key for key in differing if is_chosen(key, by) and not key.endswith("_partial_")]
    chosen = [key for key in chosen if not follows_from_class(key, chosen, [run["settings"] for run in runs])]
    groups = defaultdict(list)
    for run in runs:
        groups[describe(run["settings"], chosen)].append(run)
    rows = [
        {
            "setting": setting,
            "values": shorten(group[0]["settings"], chosen),
            "names": [run["name"] for run in group],
            "before": known(run["before"] for run in group),
            "scores": {name: known(run["scores"][name] for run in group) for name in group[0]["scores"]},
        }
        for setting, group in groups.items()
    ]
    sign = 1 if is_better(0.0, 1.0, score) else -1
    return chosen, sorted(rows, key=lambda row: sign * statistics.fmean(row["scores"][score]))


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


def shorten(settings: Mapping, keys: Iterable[str]) -> dict[str, object]:
    """Returns the settings that tell a run apart; of a class the last part of its name.

    >>> shorten({"head.layer._target_": "multihot.CSRA", "epochs": 3}, ["head.layer._target_", "epochs", "seed"])
    {'head.layer': 'CSRA', 'epochs': 3}
    """
    return {
        title(key): str(settings[key]).rsplit(".", 1)[-1] if key.endswith("_target_") else settings[key]
        for key in keys
        if key in settings
    }


def title(key: str) -> str:
    """Returns what a setting is called in the table."""
    return key.removesuffix("._target_")


def describe(settings: Mapping, keys: Iterable[str]) -> str:
    """Returns the settings that tell a run apart in words.

    >>> describe({"head.layer._target_": "multihot.CSRA", "epochs": 3}, ["head.layer._target_", "epochs"])
    'head.layer=CSRA epochs=3'
    """
    return " ".join(f"{key}={value}" for key, value in shorten(settings, keys).items()) or "all the same"


def known(values: Iterable[float | None]) -> list[float]:
    """Returns the values that are numbers."""
    return [value for value in values if value is not None]


def format_table(rows: Sequence[dict], scores: Sequence[str]) -> str:
    """Returns the rows as a table in Markdown: mean and standard deviation over the runs of a row."""
    lines = [["setting", "runs", f"{scores[0]} before training", *scores], ["---"] * (3 + len(scores))]
    lines += [
        [
            row["setting"],
            str(len(row["names"])),
            spread(row["before"]),
            *(spread(row["scores"][name]) for name in scores),
        ]
        for row in rows
    ]
    return "\n".join(f"|{'|'.join(line)}|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation.

    >>> spread([0.5, 0.7]), spread([0.5]), spread([])
    ('0.600 ± 0.141', '0.500', '-')
    """
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def write_csv(path: Path, keys: Sequence[str], rows: Sequence[dict], scores: Sequence[str]) -> None:
    """Writes a column a setting, and mean and standard deviation of each score; empty where there is none."""
    settings, before = [title(key) for key in keys], f"{scores[0]} before training"
    names = [f"{name}{what}" for name in (before, *scores) for what in ("", " std")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*settings, "runs", *names, "folders"])
        writer.writeheader()
        for row in rows:
            line = {**row["values"], "runs": len(row["names"]), "folders": " ".join(row["names"])}
            for name, values in {before: row["before"], **row["scores"]}.items():
                line[name] = statistics.fmean(values) if values else ""
                line[f"{name} std"] = statistics.stdev(values) if len(values) > 1 else ""
            writer.writerow({key: line.get(key, "") for key in writer.fieldnames})


def write_html(path: Path, keys: Sequence[str], rows: Sequence[dict], scores: Sequence[str]) -> None:
    """Writes one page that needs nothing else: the table, sorted by a click, with each run as a point on a scale."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"mean": lambda values: statistics.fmean(values) if values else "", "spread": spread}
    every = [value for row in rows for value in row["scores"][scores[0]]]
    low, width = min(every), (max(every) - min(every)) or 1.0
    page = environment.get_template("compare_runs.html").render(
        settings=[title(key) for key in keys],
        rows=rows,
        scores=scores,
        num_runs=sum(len(row["names"]) for row in rows),
        lower=is_better(0.0, 1.0, scores[0]),
        place=lambda value: round(6 + 108 * (value - low) / width, 1),  # of a point, pixels
    )
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
