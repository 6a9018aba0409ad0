"""The model card: what the model is, how to use it, what it was measured on and what not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters, digits

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from multihot.decisions import Decisions
from multihot.evaluation.scores import FITTED, format_interval, format_number
from multihot.labels import show_label

MOST_ROWS = 50  # of the table of labels
TASK = "image-classification"
TAG = "multihot"  # by which a model on the hub is known to be pushed from here
TITLES = {  # of the scores in the metadata
    "map": "macro average precision (mAP)",
    "micro_ap": "micro average precision",
    "macro_auroc": "macro AUROC",
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "samples_f1": "samples F1",
}
PLAIN = f"{ascii_letters}{digits} .,-=()"  # what is no markup inside of a line
NOT_SCORES = ("num_", "label_", "threshold")


@dataclass(frozen=True)
class Measured:
    """What was measured on a split."""

    split: str
    metrics: Mapping[str, object]  # metrics.json
    table: Sequence[Mapping[str, str]]  # rows of labels.csv

    @property
    def num_images(self) -> int:
        """How many images it has."""
        return self.metrics["num_images"]

    @property
    def num_evaluated(self) -> int | str:
        """How many labels have a known positive there."""
        return self.metrics.get("num_labels_evaluated", "all")

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are numbers, by name."""
        return {
            name: value
            for name, value in self.metrics.items()
            if isinstance(value, float) and not math.isnan(value) and not name.startswith(NOT_SCORES)
        }


@dataclass(frozen=True)
class About:
    """What the card tells of a model."""

    repo: str
    license: str
    decisions: Decisions
    architecture: str
    size: str
    start: str  # in words
    head: str | None  # that timm has not
    base_model: str | None  # on the hub
    license_of_start: str | None
    data_name: str | None
    sizes: Mapping[str, int]  # of the splits
    num_unknown: int  # answers of the train split
    measured: Sequence[Measured]  # test first
    has_onnx: bool
    has_tagger: bool

    @property
    def name(self) -> str:
        """The name without the user's."""
        return self.repo.rpartition("/")[2]


def create_card(about: About) -> str:
    """Returns README.md: metadata in YAML and the card in markdown."""
    decisions, space = about.decisions, about.decisions.space
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("multihot.export"),
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"text": escape, "line": escape_line}
    first = about.measured[0] if about.measured else None
    return environment.get_template("card.md").render(
        {name: getattr(about, name) for name in ("repo", "license", "architecture", "size", "start", "head", "name")},
        metadata=create_metadata(about).to_yaml(),
        license_of_start=about.license_of_start,
        has_onnx=about.has_onnx,
        has_tagger=about.has_tagger,
        data_name=about.data_name,
        num_unknown=f"{about.num_unknown:,}" if about.num_unknown else "",
        measured=about.measured,
        has_intervals=any(one.metrics.get("intervals") for one in about.measured),
        has_test=bool(first) and first.split == "test",
        labels=space.labels,
        groups=space.groups,
        function="softmax" if space.is_single_label else "sigmoid",
        is_for_transformers=about.head is None and (space.is_single_label or not space.groups),
        is_calibrated=decisions.calibration.kind != "none",
        calibration=decisions.calibration.kind,
        sizes=", ".join(f"{size:,} images for {split}" for split, size in about.sizes.items()) or "size not known",
        scores=list_scores(about.measured),
        own_threshold=describe_threshold(first.metrics.get("threshold")) if first else "",
        decided=describe_decisions(decisions),
        rows=list_labels(first, decisions) if first else [],
        rows_of=first.split if first else "",
        limits=list_limits(about),
    )


def create_metadata(about: About) -> ModelCardData:
    """Returns the metadata of the card, as Hugging Face's hub reads them."""
    test = next((one for one in about.measured if one.split == "test"), None)
    results = [
        EvalResult(
            task_type=TASK,
            task_name="multi-label image classification",
            dataset_type=slug(about.data_name or "unnamed"),
            dataset_name=one_line(about.data_name or "unnamed"),
            dataset_split="test",
            metric_type=name,
            metric_name=TITLES[name.removeprefix(FITTED)] + (" by fitted decisions" if name.startswith(FITTED) else ""),
            metric_value=value,
        )
        for name, value in (test.scores if test else {}).items()
        if name.removeprefix(FITTED) in TITLES
    ]
    return ModelCardData(
        license=about.license,
        library_name="timm",
        pipeline_tag=TASK,
        base_model=about.base_model,
        tags=["multi-label", TAG, "vision"],
        model_name=about.name if results else None,
        eval_results=results or None,
    )


def list_scores(measured: Sequence[Measured]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns each score's name, and its value and interval on each split, in words."""
    names = dict.fromkeys(name for one in measured for name in one.scores)
    rows = []
    for name in names:
        cells = []
        for one in measured:
            interval = (one.metrics.get("intervals") or {}).get(name)
            interval = None if interval is None or None in interval else interval
            cells.append((format_number(one.scores.get(name)), format_interval(interval) or "-"))
        rows.append((f"`{name}`" if name.isidentifier() else escape(name), cells))
    return rows


def list_labels(measured: Measured, decisions: Decisions) -> list[dict[str, str]]:
    """Returns the rows of the most frequent labels, in words; by the fitted decisions where they were measured."""
    thresholds = dict(zip(decisions.space.labels, decisions.thresholds(), strict=True))
    rows = []
    for row in sorted(measured.table, key=lambda row: -int(row["support"]))[:MOST_ROWS]:
        threshold = thresholds[row["label"]]
        cells = {name: show(row.get(f"{FITTED}{name}") or row.get(name)) for name in ("precision", "recall", "f1")}
        cells["ap"] = show(row.get("ap"))
        if row.get("ap_low") and row.get("ap_high"):
            cells["ap"] += f" ({show(row['ap_low'])} to {show(row['ap_high'])})"
        cells["threshold"] = "largest" if threshold is None else format_number(threshold)
        rows.append({"label": row["label"], "support": row["support"], **cells})
    return rows


def show(cell: str | None) -> str:
    """Returns a cell of labels.csv with four decimals.

    >>> show("0.25"), show("nan"), show(""), show(None)
    ('0.2500', '-', '-', '-')
    """
    return format_number(float(cell) if cell else None)


def describe_threshold(threshold: float | Sequence | None) -> str:
    """Returns the run's own threshold in words."""
    if threshold is None:
        return "the largest logit"
    return "a threshold a label that the run was given" if isinstance(threshold, list) else f"threshold {threshold}"


def describe_decisions(decisions: Decisions) -> str:
    """Returns how labels are decided, in words."""
    parts = []
    if decisions.own:
        parts.append(f"{len(decisions.own)} labels have a threshold of their own")
    num_common = len(decisions.space.independent) - len(decisions.own)
    if num_common:
        parts.append(f"{num_common} labels are predicted above probability {format_number(decisions.common)}")
    if decisions.space.groups:
        parts.append("in a group the largest logit decides")
    how = f" They were fitted ({decisions.description})." if decisions.description else " They were not fitted."
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:] + escape_line(how) + " `decisions.json` has the cut of each label."


def list_limits(about: About) -> list[str]:
    """Returns what this model in particular cannot promise."""
    limits = []
    test = next((one for one in about.measured if one.split == "test"), None)
    if test and isinstance(test.num_evaluated, int) and test.num_evaluated < len(about.decisions.space.labels):
        missing = len(about.decisions.space.labels) - test.num_evaluated
        limits.append(f"{missing} labels have no positive in the test split: how good they are is not known.")
    if not about.decisions.description and about.decisions.space.independent:
        limits.append("Thresholds were not fitted: another may suit your use better.")
    if about.decisions.calibration.kind == "none":
        limits.append("Probabilities were not calibrated: 0.8 need not come true in 8 of 10 images.")
    return limits


def slug(name: str) -> str:
    """Returns a name as the hub writes the id of a data set.

    >>> slug("My photos, 2024/labels.csv")
    'My-photos-2024-labels.csv'
    """
    words = "".join(char if char.isascii() and (char.isalnum() or char in "._") else " " for char in name).split()
    return "-".join(words) or "unnamed"


def one_line(text: str) -> str:
    """Returns a text in one line, what cannot be printed escaped."""
    return show_label(" ".join(text.split()))


def escape(text: str) -> str:
    """Returns a text for one line or a cell of a table of markdown: it stays what it says, and no markup.

    >>> escape("a|b <b>*x*</b>\\n")
    'a&#124;b &#60;b&#62;&#42;x&#42;&#60;&#47;b&#62;&#92;n'
    """
    return escape_line(show_label(text))


def escape_line(text: str) -> str:
    """Returns a text with what markdown or HTML may take for markup as character references."""
    return "".join(f"&#{ord(char)};" if char.isascii() and char not in PLAIN else char for char in text)
