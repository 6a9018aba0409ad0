"""Runs in rows: one for each combination of settings that differ, and how far it is from the best row."""

import difflib
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from multihot.comparison.results import HASHES, Result, split_of
from multihot.comparison.thresholds import THRESHOLDS, find_threshold
from multihot.errors import InputError
from multihot.monitor import is_better_lower
from multihot.settings.saved import FREE_ON_RESUME, GONE, is_inside, since

# what repeats a run, or is without effect on its scores
NOT_COMPARED = ("seed", "mixed_precision", "kernels", *(key for key in FREE_ON_RESUME if key != "patience"))


@dataclass
class Difference:
    """Mean difference of two rows and its standard error, over seeds."""

    mean: float
    error: float
    is_paired: bool  # by seed


@dataclass
class Row:
    """Runs whose compared settings are equal."""

    title: str  # the compared settings in words
    values: dict[str, str]  # and by column
    runs: list[Result]
    mixed: dict[str, str] = field(default_factory=dict)  # settings that differ inside the row: all their values
    difference: Difference | None = None  # to the best row; None for the best itself, and where it cannot be told

    @property
    def names(self) -> list[str]:
        """The run folders."""
        return [run.name for run in self.runs]

    @property
    def seeds(self) -> list[object]:
        """The seed of each run, in order."""
        return sorted((run.seed for run in self.runs), key=lambda seed: (len(str(seed)), str(seed)))

    def scores(self, name: str) -> list[float]:
        """Returns a score of each run that has it."""
        return [run.scores[name] for run in self.runs if name in run.scores]

    def before(self, name: str) -> list[float]:
        """Returns a score before training of each run that has it."""
        return [run.before[name] for run in self.runs if name in run.before]


def compare(runs: Sequence[Result], by: Sequence[str], scores: Sequence[str]) -> tuple[list[str], list[Row]]:
    """Returns the columns of the compared settings, and the rows; the best mean of the first score first.

    Args:
        by: settings or groups of settings that tell rows apart; without any, all that differ and change a result.
            The data that a score was measured on tells rows apart in any case, and the threshold of decisions.
        scores: all runs have the first.

    Raises:
        InputError: no run has a setting of `by`.
    """
    check_by(by, runs)
    measured_on = [f"data.{split_of(score)}" for score in scores]
    measured_on += [key for score in scores if (key := find_threshold(score))]
    differing = [
        key for key in find_differing(runs) if key in measured_on or (is_chosen(key, by) and key not in THRESHOLDS)
    ]
    keys = drop_implied(differing, runs, keep=measured_on)
    names = name_values(runs)
    groups = defaultdict(list)
    for run in runs:
        groups[combination(run, keys)].append(run)
    rows = [create_row(group, keys, names) for group in groups.values()]
    sign = 1 if is_better_lower(scores[0]) else -1
    rows.sort(key=lambda row: sign * statistics.fmean(row.scores(scores[0])))
    for row in rows[1:]:
        row.difference = subtract(row, rows[0], scores[0])
    return list(dict.fromkeys(column_of(key) for key in keys)), rows


def create_row(runs: Sequence[Result], keys: Sequence[str], names: Mapping) -> Row:
    """Returns the row of runs that agree in the compared settings."""
    values = show(runs[0], keys, names)
    return Row(in_words(values) or ("-" if keys else "all the same"), values, list(runs), find_mixed(runs, names))


def in_words(values: Mapping[str, str]) -> str:
    """Returns settings in one line.

    >>> in_words({"loss.function": "FocalLoss", "epochs": "3"})
    'loss.function=FocalLoss epochs=3'
    """
    return " ".join(f"{column}={value}" for column, value in values.items())


def subtract(row: Row, best: Row, score: str) -> Difference | None:
    """Returns row - best; None where one of them has less than two seeds, or they were measured on other data.

    Paired by seed where both have the same seeds, else Welch's. Runs of one seed are no independent ones: they count as
    their mean.
    """
    measured_on = f"data.{split_of(score)}"
    if row.runs[0].settings.get(measured_on) != best.runs[0].settings.get(measured_on):
        return None
    ours, theirs = mean_by_seed(row, score), mean_by_seed(best, score)
    if min(len(ours), len(theirs)) < 2:
        return None
    if ours.keys() == theirs.keys():
        gaps = [ours[seed] - theirs[seed] for seed in ours]
        return Difference(statistics.fmean(gaps), statistics.stdev(gaps) / sqrt(len(gaps)), is_paired=True)
    variance = sum(statistics.variance(scores.values()) / len(scores) for scores in (ours, theirs))
    return Difference(statistics.fmean(ours.values()) - statistics.fmean(theirs.values()), sqrt(variance), False)


def mean_by_seed(row: Row, score: str) -> dict[object, float]:
    """Returns the mean score of the runs of each seed."""
    found = defaultdict(list)
    for run in row.runs:
        found[run.seed].append(run.scores[score])
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def find_differing(runs: Sequence[Result]) -> list[str]:
    """Returns the settings in which runs differ; one that does not know the hash or the threshold of a split differs
    from none in it.
    """
    keys = sorted({key for run in runs for key in run.settings})
    found = {
        key: {combination(run, [key]) for run in runs} - ({("",)} if key in (*HASHES, *THRESHOLDS) else set())
        for key in keys
    }
    return [key for key in keys if len(found[key]) > 1]


def value_id(value: object) -> str:
    """Returns a text that no other value of a setting has.

    >>> value_id(1), value_id("1"), value_id(None)
    ('1', '"1"', 'null')
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def combination(run: Result, keys: Iterable[str]) -> tuple[str, ...]:
    """Returns what a run has for these settings; "" for one that it lacks, unless it is newer or older than the run."""
    known = since(run.settings) | GONE | run.settings
    return tuple(value_id(known[key]) if key in known else "" for key in keys)


def drop_implied(keys: Sequence[str], runs: Sequence[Result], keep: Sequence[str] = ()) -> list[str]:
    """Returns the settings without those that others tell: a class its own options, the data settings the train hash.

    >>> options = [{"loss._target_": "Bce"}, {"loss._target_": "Focal", "loss.gamma": 2.0}]
    >>> runs = [Result("", settings, {}, {}, "") for settings in options]
    >>> drop_implied(["loss._target_", "loss.gamma"], runs)
    ['loss._target_']
    """
    keys = [key for key in keys if not key.endswith("_partial_")]
    classes = [key for key in keys if key.endswith("._target_")]
    keys = [key for key in keys if not any(is_option(key, name) and is_implied(key, [name], runs) for name in classes)]
    others = [key for key in keys if key != "data.train"]
    return keys if "data.train" in keep or not is_implied("data.train", others, runs) else others


def is_option(key: str, class_key: str) -> bool:
    """Returns whether a setting is an option of a class.

    >>> is_option("loss.gamma", "loss._target_"), is_option("loss._target_", "loss._target_")
    (True, False)
    """
    return key != class_key and key.startswith(f"{column_of(class_key)}.")


def is_implied(key: str, others: Sequence[str], runs: Sequence[Result]) -> bool:
    """Returns whether runs that agree in the other settings always agree in this one."""
    return len({combination(run, [*others, key]) for run in runs}) == len({combination(run, others) for run in runs})


def is_chosen(key: str, by: Sequence[str]) -> bool:
    """Returns whether a setting tells runs apart: one of `by` or inside of it; without `by`, any that changes a result.

    >>> is_chosen("loss.function.gamma", ["loss"]), is_chosen("seed", []), is_chosen("lossy", ["loss"])
    (True, False, False)
    """
    return any(is_inside(key, name) for name in by or NOT_COMPARED) == bool(by)


def check_by(by: Sequence[str], runs: Sequence[Result]) -> None:
    """Raises InputError with similar names if no run has a setting or group that is asked for."""
    keys = {key for run in runs for key in run.settings}
    known = {key.rsplit(".", depth)[0] for key in keys for depth in range(key.count(".") + 1)}
    for name in by:
        if name not in known:
            near = [key for key in sorted(known) if key.endswith(f".{name}")]
            near += [key for key in difflib.get_close_matches(name, known, n=5) if key not in near]
            raise InputError(
                f"--by {name}: no run that counts has this setting" + (f"; near: {', '.join(near)}" if near else "")
            )


def find_equal(by: Sequence[str], runs: Sequence[Result]) -> list[str]:
    """Returns the names in `by` that do not differ in any run."""
    differing = find_differing(runs)
    return [name for name in by if not any(is_inside(key, name) for key in differing)]


def find_mixed(runs: Sequence[Result], names: Mapping) -> dict[str, str]:
    """Returns the settings that change a result and differ inside a row, with all their values."""
    differing = [key for key in find_differing(runs) if is_chosen(key, []) and key not in THRESHOLDS]
    keys = drop_implied(differing, runs)
    shown = [show(run, keys, names) for run in runs]
    columns = dict.fromkeys(column_of(key) for key in keys)
    return {column: join({values.get(column, "absent") for values in shown}) for column in columns}


def join(values: Iterable[str]) -> str:
    """Returns the values side by side.

    >>> join({"10", "9"})
    '9|10'
    """
    return "|".join(sorted(values, key=lambda value: (len(value), value)))


def name_values(runs: Sequence[Result]) -> dict[tuple[str, str], str]:
    """Returns how each value of each setting is shown: of a class the last part of its name, unless two share it.

    >>> runs = [Result("", {"loss._target_": name}, {}, {}, "") for name in ("timm.Bce", "mine.Bce", "timm.Focal")]
    >>> list(name_values(runs).values())
    ['timm.Bce', 'mine.Bce', 'Focal']
    """
    values = {(key, value_id(value)): value for run in runs for key, value in run.settings.items()}
    short = {
        (key, id): str(value).rsplit(".", 1)[-1] if key.endswith("_target_") else str(value)
        for (key, id), value in values.items()
    }
    shared = Counter((key, text) for (key, _), text in short.items())
    return {
        (key, id): text if shared[key, text] == 1 else str(values[key, id]) if key.endswith("_target_") else id
        for (key, id), text in short.items()
    }


def show(run: Result, keys: Iterable[str], names: Mapping) -> dict[str, str]:
    """Returns the compared settings of a run by column, as they are shown."""
    return {column_of(key): names[key, value_id(run.settings[key])] for key in keys if key in run.settings}


def column_of(key: str) -> str:
    """Returns what a setting is called in the table."""
    return key.removesuffix("._target_")
