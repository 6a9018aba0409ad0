"""What run folders say of their runs: settings, scores, data, code, and whether the training has come to its end."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multihot.comparison.thresholds import read_threshold
from multihot.errors import InputError
from multihot.files import damaged, read_json
from multihot.json_shapes import CODE, FINISHED, HISTORY, MANIFESTS, METRICS
from multihot.settings.saved import flatten, read_config

HASH_LENGTH = 8  # characters of a hash that are shown
HASHES = ("data.train", "data.val", "data.test")  # of the splits; they stand among the settings
NO_SCORES = ("threshold", "decisions", "intervals")  # in metrics.json
UNFINISHED = ("not finished", "ended early by the search")


@dataclass(frozen=True)
class Result:
    """One run. Its settings are flat; among them are `data.train`, `data.val`, `data.test`: hashes of the splits."""

    name: str
    settings: dict[str, object]
    scores: dict[str, float]  # split/metric, of the best epoch; without those that are NaN
    before: dict[str, float]  # the same before training
    progress: str  # epochs made and wanted
    left_out: str = ""  # why it does not count
    commits: tuple[str, ...] = ()  # of the code that it began and went on with
    has_changed_code: bool = False  # since a commit

    @property
    def seed(self) -> object:
        """What tells repeated runs apart."""
        return self.settings.get("seed", self.name)


def read_results(folder: Path) -> list[Result]:
    """Returns what the run folders in a folder say, by name.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (folder / "config.yaml").exists():
        raise InputError(f"{folder} is a run folder: give the one above it, {folder.resolve().parent}")
    runs = sorted(config.parent for config in folder.glob("*/config.yaml"))
    if not runs:
        raise InputError(f"{folder} has no run folders (folders with a config.yaml)")
    return [read_or_leave_out(run) for run in runs]


def read_or_leave_out(run: Path) -> Result:
    """Returns what one run folder says; of one with a damaged file that it does not count, and why."""
    try:
        return read_result(run)
    except InputError as error:
        return Result(run.name, {}, {}, {}, progress="not read", left_out=str(error))


def read_result(run: Path) -> Result:
    """Returns what one run folder says; files that older runs lack may be absent."""
    settings = flatten(read_config(run / "config.yaml"))
    if not isinstance(settings.get("epochs"), int):
        raise damaged(run / "config.yaml", "it has no epochs")
    splits = read_if_there(run / "manifests.json", MANIFESTS, {})
    history = read_if_there(run / "history.json", HISTORY, [])
    measured = {path.parent.name: read_json(path, METRICS) for path in sorted(run.glob("*/metrics.json"))}
    scores = {
        f"{split}/{name}": score
        for split, metrics in measured.items()
        for name, score in metrics.items()
        if name not in NO_SCORES
    }
    thresholds = {
        f"{split}.threshold": read_threshold(split, metrics, settings, history) for split, metrics in measured.items()
    }
    settings |= {key: threshold for key, threshold in thresholds.items() if threshold is not None}
    settings |= {
        f"{split}.decisions": metrics["decisions"]["description"]
        for split, metrics in measured.items()
        if "decisions" in metrics
    }
    finished = read_if_there(run / "finished.json", FINISHED, None)
    if finished is not None and "global_batch_size" in finished:  # older runs lack it
        settings["batch_size"] = finished["global_batch_size"]  # 1 x 64 and 8 x 8 images train the same
    code = read_if_there(run / "code.json", CODE, {})
    codes = [code, code.get("went_on_with", {})]
    return Result(
        name=run.name,
        settings=settings | {f"data.{split}": data["sha256"][:HASH_LENGTH] for split, data in splits.items()},
        scores=numbers(scores),
        before=numbers(history[0]) if history else {},
        progress=f"epoch {history[-1]['epoch']} of {settings.get('epochs')}" if history else "nothing measured",
        left_out=why_left_out(settings, history, finished),
        commits=tuple(dict.fromkeys(code["commit"] for code in codes if code.get("commit"))),
        has_changed_code=any(code.get("dirty") for code in codes),
    )


def read_if_there(path: Path, shape: object, default: object) -> object:
    """Returns the content of a JSON file, or the default if there is none."""
    return read_json(path, shape) if path.exists() else default


def numbers(scores: dict) -> dict[str, float]:
    """Returns the scores that are numbers; NaN is null in JSON."""
    return {name: score for name, score in scores.items() if score is not None}


def why_left_out(settings: dict, history: Sequence[dict], finished: dict | None) -> str:
    """Returns why a run is no result yet; "" if it is one.

    Older runs keep `finished.json` while they go on with more epochs: these must have been made too.

    >>> why_left_out({"epochs": 3, "patience": None}, [{"epoch": 3}], {"epoch": 2})
    ''
    >>> why_left_out({"epochs": 9, "patience": None}, [{"epoch": 3}], {"epoch": 2})
    'not finished'
    """
    if finished is not None and finished.get("pruned"):
        return UNFINISHED[1]
    if finished is None or not history:
        return UNFINISHED[0]
    done, patience = history[-1]["epoch"], settings.get("patience")
    has_waited = patience is not None and done - finished["epoch"] >= patience
    return "" if done >= settings["epochs"] or has_waited else UNFINISHED[0]


def choose_scores(asked: Sequence[str], results: Sequence[Result], folder: Path) -> list[str]:
    """Returns the scores to show: those asked for, else `val/map`, and `test/map` where a run has it.

    Raises:
        InputError: no run has a score that was asked for.
    """
    known = sorted({score for result in results for score in result.scores})
    scores = list(dict.fromkeys(asked)) or ["val/map", *(["test/map"] if "test/map" in known else [])]
    for score in scores:
        if score not in known:
            split, _, metric = score.partition("/")
            is_metric = metric in {name.partition("/")[2] for name in known}
            hint = f" (python evaluate.py run=<run folder> split={split} measures it)" if is_metric else ""
            raise InputError(
                f"no run in {folder} has the score {score}{hint}; known ones: {', '.join(known) or 'none'}"
            )
    return scores


def select(
    results: Sequence[Result], scores: Sequence[str], with_unfinished: bool
) -> tuple[list[Result], list[Result]]:
    """Returns the runs that count, which have the first score, and those that do not, with the reason in `left_out`.

    Of the hashes of the data, those of the train split and of the splits of the scores are kept.
    """
    of_data = {"data.train", *(f"data.{split_of(score)}" for score in scores)}
    results = [replace(result, settings=drop_hashes(result.settings, of_data)) for result in results]
    if with_unfinished:
        results = [replace(result, left_out="") if result.left_out in UNFINISHED else result for result in results]
    results = [
        result if result.left_out or scores[0] in result.scores else replace(result, left_out=f"without {scores[0]}")
        for result in results
    ]
    return [result for result in results if not result.left_out], [result for result in results if result.left_out]


def drop_hashes(settings: dict, keep: Container[str]) -> dict:
    """Returns the settings with only these hashes of splits."""
    return {key: value for key, value in settings.items() if key not in HASHES or key in keep}


def split_of(score: str) -> str:
    """Returns the split that a score was measured on.

    >>> split_of("val/map")
    'val'
    """
    return score.partition("/")[0]
