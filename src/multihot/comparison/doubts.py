"""What to doubt in a comparison of runs: other data, other code, pooled settings, repeated seeds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from multihot.comparison.results import HASH_LENGTH, Result, split_of
from multihot.comparison.rows import Row, in_words
from multihot.comparison.thresholds import find_threshold

NUM_NAMES = 10  # in one sentence


def find_doubts(rows: Sequence[Row], scores: Sequence[str]) -> list[str]:
    """Returns what makes rows less than comparable means over independent runs, a sentence each."""
    runs = [run for row in rows for run in row.runs]
    splits = dict.fromkeys(map(split_of, scores))
    doubts = [doubt for split in splits for doubt in doubt_data(runs, split)]
    keys = [f"{split}.threshold" for split in splits] + [find_threshold(score) for score in scores]
    doubts += [doubt for key in dict.fromkeys(filter(None, keys)) for doubt in doubt_thresholds(runs, key, scores)]
    doubts += [doubt for row in rows for doubt in doubt_row(row)]
    return doubts + doubt_code(runs)


def doubt_data(runs: Sequence[Result], split: str) -> list[str]:
    """Returns whether a score was measured on several data."""
    hashes = Counter(run.settings[f"data.{split}"] for run in runs if f"data.{split}" in run.settings)
    if len(hashes) < 2:
        return []
    return [
        f"the runs were measured on {len(hashes)} different {split} splits ({describe_counts(hashes)}); their scores "
        "cannot be compared"
    ]


def doubt_thresholds(runs: Sequence[Result], key: str, scores: Sequence[str]) -> list[str]:
    """Returns whether a split was decided by several thresholds or decisions, or by some that are not written down.

    Args:
        key: of the settings, <split>.threshold or <split>.decisions.
    """
    split, _, kind = key.partition(".")
    of_decisions = [score for score in scores if find_threshold(score) == key]
    known = Counter(run.settings[key] for run in runs if key in run.settings)
    unknown = [
        run.name for run in runs if key not in run.settings and any(score in run.scores for score in of_decisions)
    ]
    doubts = []
    if len(known) > 1:
        effect = f"{', '.join(of_decisions)} depend on it" if of_decisions else "the scores shown do not depend on it"
        each = describe_counts(known)
        kinds = "thresholds" if kind == "threshold" else kind
        doubts.append(f"{split} was decided by {len(known)} different {kinds} ({each}); {effect}")
    if unknown:
        doubts.append(
            f"by which threshold {split} was decided is not written down for {list_names(unknown)}: evaluate.py "
            f"run=<run folder> split={split} writes it"
        )
    return doubts


def describe_counts(num_runs: Mapping[str, int]) -> str:
    """Returns how many runs have each value.

    >>> describe_counts({"0.5": 2, "0.3": 1})
    '0.5: 2 runs, 0.3: 1 run'
    """
    return ", ".join(f"{value}: {count} run{'s' * (count > 1)}" for value, count in num_runs.items())


def doubt_row(row: Row) -> list[str]:
    """Returns whether a row pools other settings, or runs of one seed as if they were independent."""
    seeds = describe_repeated(row.seeds)
    if row.mixed:
        return [f"row {row.title} mixes {in_words(row.mixed)}" + (f" ({seeds})" if seeds else "")]
    return [f"{seeds} in row {row.title}: these runs are not independent"] if seeds else []


def describe_repeated(seeds: Sequence[object]) -> str:
    """Returns which seeds are there several times.

    >>> describe_repeated([0, 0, 1, 1, 2, 2, 2, 3])
    'seeds 0, 1 occur 2 times, seed 2 occurs 3 times'
    """
    repeated = defaultdict(list)
    for seed, count in Counter(seeds).items():
        if count > 1:
            repeated[count].append(str(seed))
    return ", ".join(
        f"seed{'s' * (len(same) > 1)} {list_names(same)} occur{'s' * (len(same) == 1)} {count} times"
        for count, same in repeated.items()
    )


def doubt_code(runs: Sequence[Result]) -> list[str]:
    """Returns whether runs were made by other code, or by code that no commit has."""
    commits = defaultdict(list)
    for run in runs:
        for commit in run.commits:
            commits[commit[:HASH_LENGTH]].append(run.name)
    changed = [run.name for run in runs if run.has_changed_code]
    doubts = []
    if len(commits) > 1:
        each = "; ".join(f"{commit}: {list_names(names)}" for commit, names in commits.items())
        doubts.append(f"the runs were made by {len(commits)} commits of the code ({each})")
    if changed:
        doubts.append(f"the code had changes that were not committed: {list_names(changed)}")
    return doubts


def list_names(names: Sequence[str]) -> str:
    """Returns names in one line, of many the first.

    >>> list_names([f"r-{number}" for number in range(12)])
    'r-0, r-1, r-2, r-3, r-4, r-5, r-6, r-7, r-8, r-9 and 2 more'
    """
    rest = len(names) - NUM_NAMES
    return ", ".join(names[:NUM_NAMES]) + (f" and {rest} more" if rest > 0 else "")
