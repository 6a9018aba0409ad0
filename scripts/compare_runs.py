"""Compares runs: one row for each combination of settings that differ, with mean and spread over seeds, best first.

python scripts/compare_runs.py runs                          what differs is found
python scripts/compare_runs.py runs --by loss,start          only these settings, or groups of settings
python scripts/compare_runs.py runs --score test/map         needs evaluate.py split=test of each run
python scripts/compare_runs.py runs --score val/ranking_loss --score val/map --csv runs.csv --html runs.html
python scripts/compare_runs.py runs --paired test/map        on the same images: what other images would give

Runs that are not finished, that a search ended early or that lack the score are left out and named.
"""

import argparse
import csv
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import jinja2

from multihot.comparison.doubts import find_doubts, list_names
from multihot.comparison.results import UNFINISHED, Result, choose_scores, read_results, select, split_of
from multihot.comparison.rows import Difference, Row, compare, find_equal, in_words
from multihot.errors import InputError
from multihot.files import prepare_file, write_text, writing
from multihot.monitor import is_better_lower

NOTES = (
    "± is the sample standard deviation (n-1) over runs, not the error of the mean.",
    "The difference to the best row ± its standard error, paired by seed where both rows have the same seeds (else "
    "Welch's: unpaired), tells what may be luck of the seeds (95% sure from 13 standard errors on with two seeds, 4.3 "
    "with three, 2.8 with five) but not what other images would give, and the best of many rows is partly luck.",
)


PAIRED_NOTE = (
    "Both rows are resampled alike. 'Other images' is the 95% interval of the difference on other images of the same "
    "kind, for these trainings: other seeds may give more or less. 'And other seeds' adds the variance over seeds, "
    "paired where both rows have the same; '-': a row has one seed. An interval without 0 is a difference that can be "
    "seen; whether the intervals of the two scores overlap tells nothing. The best of many rows is partly luck."
)


@dataclass
class Comparison:
    """What is printed and written."""

    scores: list[str]  # the first decides the order
    columns: list[str]  # of the compared settings
    rows: list[Row]
    left_out: list[Result]
    warnings: list[str]


def main() -> int:
    """Prints the table and writes it where that is wanted; returns 1 and says why if there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with run folders in it")
    parser.add_argument("--by", default="", help="settings or groups of settings, divided by commas")
    parser.add_argument(
        "--score",
        action="append",
        default=[],
        help="<split>/<metric>, of the best epoch; of several, the first decides the order",
    )
    parser.add_argument(
        "--paired",
        action="append",
        default=[],
        help="<split>/<metric>: the difference of each row to the first on the same images, and its interval",
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the images, for --paired")
    parser.add_argument("--unfinished", action="store_true", help="count runs that have not come to their end as well")
    parser.add_argument("--csv", type=Path, help="file for the table, a column a setting")
    parser.add_argument("--html", type=Path, help="file for the table as a page")
    arguments = parser.parse_args()
    by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    outputs = [(arguments.csv, write_csv, "--csv"), (arguments.html, write_html, "--html")]
    outputs = [(path, write, f"give {option} another name") for path, write, option in outputs if path is not None]
    try:
        for path, write, way_out in outputs:
            prepare_file(path, MARKS[write], way_out)
        if arguments.csv is not None and arguments.csv == arguments.html:
            raise InputError(f"--csv and --html are the same file, {arguments.csv}: give one of them another name")
        check_paired(arguments)
        comparison = read_comparison(arguments.folder, by, arguments.paired or arguments.score, arguments.unfinished)
        for line in (*describe_left_out(comparison.left_out), *(f"warning: {line}" for line in comparison.warnings)):
            print(line, file=sys.stderr)
        if arguments.paired:
            print(format_paired(comparison, arguments.folder, arguments.resamples))
            return 0
        print("\n\n".join([format_table(comparison), *NOTES]))
        for path, write, way_out in outputs:
            with writing(path, way_out):
                write(path, comparison)
            print(f"{path} written", file=sys.stderr)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check_paired(arguments: argparse.Namespace) -> None:
    """Raises InputError if --paired does not go with the other arguments."""
    if not arguments.paired:
        return
    if arguments.score or arguments.csv or arguments.html:
        raise InputError("--paired prints a table of its own: leave out --score, --csv and --html")
    splits = sorted({split_of(score) for score in arguments.paired})
    if len(splits) > 1:
        raise InputError(f"--paired compares runs on the images of one split, not of {' and '.join(splits)}")
    if arguments.resamples < 2:
        raise InputError(f"--resamples must be 2 or more, not {arguments.resamples}")


def format_paired(comparison: Comparison, folder: Path, num_resamples: int) -> str:
    """Returns for each score a table in Markdown: how far each row is from the first, which is the best by the first
    score, and what other images and seeds would give.
    """
    from multihot.comparison.paired import subtract_paired  # loads torch, which other comparisons need not wait for

    first, *others = comparison.rows
    if not others:
        raise InputError(
            f"there is one row alone, {first.title}: --paired needs two that differ in a setting (--by names them)"
        )
    tables = []
    for score, gaps in subtract_paired(folder, comparison.rows, comparison.scores, num_resamples).items():
        lines = [["setting", "runs", score, "difference to the first row", "other images", "and other seeds"]]
        lines.append([first.title, str(len(first.runs)), spread(first.scores(score), len(first.runs)), "-", "", ""])
        for row, gap in zip(others, gaps, strict=True):
            cells = [row.title, str(len(row.runs)), spread(row.scores(score), len(row.runs)), f"{gap.mean:+.4f}"]
            lines.append([*cells, format_ends(gap.of_images), format_ends(gap.of_both)])
        table = [f"| {' | '.join(map(escape, line))} |" for line in lines]
        tables.append("\n".join([table[0], "|---" * len(lines[0]) + "|", *table[1:]]))
    return "\n\n".join([*tables, PAIRED_NOTE])


def format_ends(ends: tuple[float, float] | None) -> str:
    """Returns an interval in words.

    >>> format_ends((-0.05, 0.01)), format_ends(None)
    ('-0.0500 to +0.0100', '-')
    """
    return "-" if ends is None or math.isnan(ends[0]) else f"{ends[0]:+.4f} to {ends[1]:+.4f}"


def read_comparison(folder: Path, by: Sequence[str], scores: Sequence[str], with_unfinished: bool) -> Comparison:
    """Returns rows and warnings about the runs in a folder.

    Raises:
        InputError: no run counts, or there is no such folder, score or setting.
    """
    results = read_results(folder)
    scores = choose_scores(scores, results, folder)
    runs, left_out = select(results, scores, with_unfinished)
    if not runs:
        raise InputError("\n".join([f"no run in {folder} is a result", *describe_left_out(left_out)]))
    columns, rows = compare(runs, by, scores)
    counted = {run.name for run in runs}
    unfinished = [f"{run.name} ({run.progress})" for run in results if run.left_out and run.name in counted]
    warnings = [f"counted though they did not come to their end: {list_names(unfinished)}"] if unfinished else []
    warnings += [f"{name} is the same in all runs" for name in find_equal(by, runs)]
    return Comparison(scores, columns, rows, left_out, warnings + find_doubts(rows, scores))


def describe_left_out(runs: Sequence[Result]) -> list[str]:
    """Returns a line for each reason for which runs do not count."""
    reasons = defaultdict(list)
    for run in runs:
        reasons[run.left_out].append(f"{run.name} ({run.progress})" if run.left_out in UNFINISHED else run.name)
    return [
        f"left out, {reason}: {list_names(names)}" + "; --unfinished counts them" * (reason in UNFINISHED)
        for reason, names in reasons.items()
    ]


def format_table(comparison: Comparison) -> str:
    """Returns the rows as a table in Markdown: mean and standard deviation over the runs of a row."""
    first, *others = comparison.scores
    lines = [["setting", "runs", f"{first} before training", first, "difference to the best", *others]]
    for row in comparison.rows:
        cells = [row.title, str(len(row.runs)), spread(row.before(first), len(row.runs))]
        cells += [spread(row.scores(first), len(row.runs)), describe_difference(row, comparison.rows)]
        lines.append(cells + [spread(row.scores(name), len(row.runs)) for name in others])
    table = [f"| {' | '.join(map(escape, line))} |" for line in lines]
    return "\n".join([table[0], "|---" * len(lines[0]) + "|", *table[1:]])


def escape(text: str) -> str:
    r"""Returns a text that stays in its cell of a Markdown table.

    >>> escape("sep=|")
    'sep=\\|'
    """
    return " ".join(text.split()).replace("|", r"\|")


def spread(values: Sequence[float], num_runs: int) -> str:
    """Returns mean and standard deviation, and of how many runs they are if not of all.

    >>> spread([0.5, 0.7], 2), spread([0.5], 2), spread([], 2)
    ('0.6000 ± 0.1414', '0.5000 (1 of 2)', '-')
    """
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    missing = f" ({len(values)} of {num_runs})" if len(values) < num_runs else ""
    return f"{statistics.fmean(values):.4f}{deviation}{missing}"


def describe_difference(row: Row, rows: Sequence[Row]) -> str:
    """Returns the difference to the best row ± its standard error."""
    if row is rows[0]:
        return "best"
    return format_difference(row.difference) if row.difference else "-"


def format_difference(difference: Difference) -> str:
    """Returns a difference ± its standard error.

    >>> format_difference(Difference(-0.21, 0.09, is_paired=True)), format_difference(Difference(-0.21, 0.1, False))
    ('-0.2100 ± 0.0900', '-0.2100 ± 0.1000 (unpaired)')
    """
    return f"{difference.mean:.4f} ± {difference.error:.4f}" + " (unpaired)" * (not difference.is_paired)


def write_csv(path: Path, comparison: Comparison) -> None:
    """Writes a column a setting, and mean, standard deviation and number of runs of each score.

    A run that is left out has a line of its own: 0 runs and the reason.
    """
    lines = [describe_row(row, comparison.scores) for row in comparison.rows]
    settings = [*comparison.columns, "mixed"]
    columns = [*settings, *(name for name in lines[0] if name not in settings), "left out"]
    file = StringIO()
    writer = csv.DictWriter(file, columns, restval="")
    writer.writeheader()
    writer.writerows(lines)
    for run in comparison.left_out:
        writer.writerow({"runs": 0, "folders": run.name, "left out": f"{run.left_out} ({run.progress})"})
    write_text(path, file.getvalue())


def describe_row(row: Row, scores: Sequence[str]) -> dict[str, object]:
    """Returns the line of the CSV, but for the settings that the row lacks; empty where there is no value."""
    line = {"mixed": in_words(row.mixed), **row.values, "runs": len(row.runs), "seeds": " ".join(map(str, row.seeds))}
    measured = {f"{scores[0]} before training": row.before(scores[0])} | {name: row.scores(name) for name in scores}
    for name, values in measured.items():
        line[name] = statistics.fmean(values) if values else ""
        line[f"{name} std"] = statistics.stdev(values) if len(values) > 1 else ""
        line[f"{name} runs"] = len(values)
    gap, name = row.difference, "difference to the best"
    line |= {name: gap.mean if gap else "", f"{name} error": gap.error if gap else ""}
    return line | {f"{name} paired": gap.is_paired if gap else "", "folders": " ".join(row.names)}


def write_html(path: Path, comparison: Comparison) -> None:
    """Writes one page that needs nothing else: the table, sorted by a click, with each run as a point on a scale."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"mean": lambda values: statistics.fmean(values) if values else "", "spread": spread}
    first = comparison.scores[0]
    every = [value for row in comparison.rows for value in row.scores(first)]
    low, width = min(every), (max(every) - min(every)) or 1.0
    page = environment.get_template("compare_runs.html").render(
        comparison=comparison,
        first=first,
        notes=NOTES,
        lower=is_better_lower(first),
        is_mixed=any(row.mixed for row in comparison.rows),
        in_words=in_words,
        describe_difference=describe_difference,
        place=lambda value: round(6 + 108 * (value - low) / width, 1),  # of a point, pixels
    )
    write_text(path, page)


MARKS = {write_csv: b"mixed,runs,seeds,", write_html: b"<title>Comparison by "}  # by which an earlier file is known


if __name__ == "__main__":
    sys.exit(main())
