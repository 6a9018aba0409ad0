"""The first weights of a head: random, the prior, rows carried over by class name, or a fit on frozen features."""

import csv
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from multihot.data.manifest import Manifest, target_of
from multihot.errors import InputError, list_first
from multihot.labels import LabelSpace, show_label
from multihot.loss import UnknownStrategy
from multihot.model.architecture import BUILD_ERRORS
from multihot.model.features import TOLERANCE, pool, read_features
from multihot.model.heads import carry_rows, classifiers, start_at_log_odds
from multihot.model.logistic import IGNORE, Answers, fit_best, fit_scales
from multihot.model.prior import mean_one, prior_log_odds
from multihot.model.probe import evaluating, example_image
from multihot.model.weight_files import Classifier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """Where a label's first weights come from: one line of the table."""

    label: str
    start: str  # carried | prior | fit | kept | new
    source: str = ""  # class names
    scale: float = float("nan")
    bias: float = float("nan")


@dataclass(frozen=True)
class FreshHead:
    """A model whose head is to get its first weights, and what these may come from."""

    model: nn.Module
    space: LabelSpace
    data: Manifest  # the train split
    read_classifier: Callable[..., Classifier]  # (class_names=...) -> the source's own
    pooled_features: Callable[[], torch.Tensor]  # of the train split (N, D)
    unknown: UnknownStrategy = IGNORE  # what the loss takes an unknown answer for

    @cached_property
    def log_odds(self) -> torch.Tensor:
        """The logits (C,) that give every label its frequency."""
        return prior_log_odds(self.space, self.data, self.unknown)

    @cached_property
    def answers(self) -> Answers:
        """The answers as the loss is given them."""
        weights = self.data.weights
        image_weight = None if weights is None else torch.from_numpy(mean_one(weights)).float()
        return Answers(self.space, target_of(self.data).float(), image_weight, self.unknown)

    @cached_property
    def features(self) -> torch.Tensor:
        """Those of the train split (N, D); an InputError names the images of which they are not finite."""
        features = self.pooled_features()
        faults = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if faults:
            raise InputError(
                f"the model gives NaN or infinite features for {len(faults)} of {len(self.data)} images; try "
                f"mixed_precision=no, or other weights:\n{list_first([self.data.images[row] for row in faults])}"
            )
        return features

    def start_rows_at_prior(self) -> None:
        """Gives each label its prior; a head that cannot take rows is refused before any work."""
        check_rows(self.model)
        start_at_log_odds(self.model, self.log_odds)


@dataclass(frozen=True)
class Random:
    """The head as it was made."""

    def set_weights(self, head: FreshHead) -> list[Row]:
        """Returns what each label got, as that of every start does."""
        return [Row(label, "random") for label in head.space.labels]


@dataclass(frozen=True)
class Prior:
    """Zero weights, and as biases the log-odds of each label's frequency, as the loss counts it."""

    def set_weights(self, head: FreshHead) -> list[Row]:
        """Makes each image's logits the prior."""
        start_at_log_odds(head.model, head.log_odds)
        return [Row(label, "prior") for label in head.space.labels]


@dataclass(frozen=True)
class Fit:
    """Logistic regression of each label on frozen features; a label without both answers keeps the prior."""

    def set_weights(self, head: FreshHead) -> list[Row]:
        """Fits the head to the features of the train split."""
        head.start_rows_at_prior()
        return fit_rows(head.model, head.features, head.answers)


@dataclass(frozen=True)
class ByName:
    """Rows of the source's classes that are called as labels, scaled to log-odds; other labels keep the prior."""

    class_names: str | Sequence[str] | None  # in place of the source's own
    aliases: str | None  # a YAML or JSON file, {label: class name or list of them}

    def set_weights(self, head: FreshHead) -> list[Row]:
        """Carries the rows over."""
        head.start_rows_at_prior()
        classifier = head.read_classifier(class_names=self.class_names)
        matches = match_labels(head.space, classifier, read_aliases(self.aliases))
        check_width(classifier, head.model)
        return carry_by_name(head.model, classifier, matches, head.log_odds, head.features, head.answers)


@dataclass(frozen=True)
class Keep:
    """Rows of a multi-label source, by name and unchanged."""

    class_names: str | Sequence[str] | None  # in place of the source's own
    grow: bool  # labels that the source lacks start from the prior

    def set_weights(self, head: FreshHead) -> list[Row]:
        """Takes the rows over."""
        head.start_rows_at_prior()
        return keep_rows(head.model, head.space, head.read_classifier(class_names=self.class_names), self.grow)


def check_rows(model: nn.Module) -> None:
    """Raises InputError unless a row and a bias make a label's logit row . pooled features + bias, as starts take it.

    It is tried on an example image and leaves the first label with that row. CSRA holds to it approximately, see there.
    """
    carry_rows(model, {})
    image, generator = example_image(model), torch.Generator().manual_seed(0)
    with evaluating(model), torch.no_grad():
        features = pool(model, read_features(model, image)).float()[0]
        row = torch.randn(len(features), generator=generator).to(features)
        try:
            carry_rows(model, {0: (row, 0.5)})
            logit = model(image)[0, 0].float()
        except BUILD_ERRORS:  # of another width
            logit = torch.tensor(torch.nan)
    wanted = features @ row + 0.5
    is_exact = not any(getattr(layer, "reads_tokens", False) for layer in classifiers(model).values())
    if logit.isnan() or (is_exact and (logit - wanted).abs() > TOLERANCE * features.norm() * row.norm()):
        raise InputError(
            f"labels cannot be fitted or carried over into {type(model).__name__}: its logits are no product of a row "
            "of weights and its pooled features. Take finetune=full start=prior, or random"
        )


def keep_rows(model: nn.Module, space: LabelSpace, classifier: Classifier, grow: bool) -> list[Row]:
    """Takes over the rows of a multi-label classifier by name, unchanged; with `grow` new labels keep the prior.

    Raises:
        InputError: the source has a label that is not wanted, or lacks one that is, and `grow` is off.
    """
    names, bias = require_rows(classifier, "keep"), bias_of(classifier)
    check_width(classifier, model)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"start=keep: the source has these labels more than once:\n{list_first(twice)}")
    if not classifier.is_multi_label:
        raise InputError("start=keep needs a multi-label source; rows of a softmax classifier take by_name")
    missing = [label for label in space.labels if label not in names]
    dropped = [name for name in names if name not in space.labels]
    if dropped or (missing and not grow):
        problems = [f"{label!r}: not in the source (start.grow=true adds it)" for label in missing]
        problems += [f"{name!r}: only in the source (name it in data.labels)" for name in dropped]
        raise InputError(f"the labels of the data are not those of the source:\n{list_first(problems)}")
    place = {name: row for row, name in enumerate(names)}
    kept = {column: place[label] for column, label in enumerate(space.labels) if label in place}
    carry_rows(model, {column: (classifier.weight[row], bias[row].item()) for column, row in kept.items()})
    return [Row(label, "new" if column not in kept else "kept") for column, label in enumerate(space.labels)]


def carry_by_name(
    model: nn.Module,
    classifier: Classifier,
    matches: Mapping[int, Sequence[int]],
    prior: torch.Tensor,
    features: torch.Tensor,
    answers: Answers,
) -> list[Row]:
    """Carries over the rows of the classes that labels match, each with a scale and a bias fitted to the data.

    A softmax logit says how one class compares with the others, not how likely it is. Log-odds are a * logit + b, with
    a and b of each label by logistic regression (Platt scaling) on features (N, D) and the answers about them; those of
    an exclusive group are fitted together. The other labels have their logits `prior` (C,).
    """
    rows, table, biases = {}, {}, bias_of(classifier)
    carried = [column for column in answers.find_fitted() if column in matches]
    for part, columns in answers.parts():
        places = [place for place, column in enumerate(columns) if column in carried]
        if not places:
            continue
        classes = [matches[columns[place]] for place in places]
        weight = torch.stack([classifier.weight[found].float().mean(dim=0) for found in classes])
        bias = torch.stack([biases[found].float().mean() for found in classes])
        scale, offset = fit_scales(features @ weight.T + bias, part, places, prior[columns])
        weight, bias = scale[:, None] * weight, scale * bias + offset
        for number, place in enumerate(places):
            names = "; ".join(classifier.names[row] for row in classes[number])
            label = part.space.labels[place]
            rows[columns[place]] = weight[number], bias[number].item()
            table[columns[place]] = Row(label, "carried", names, scale[number].item(), bias[number].item())
    carry_rows(model, rows)
    return [table.get(column, Row(label, "prior")) for column, label in enumerate(answers.space.labels)]


def check_width(classifier: Classifier, model: nn.Module) -> None:
    """Raises InputError if the rows of a classifier read another number of features than the model gives."""
    if classifier.weight.shape[1] != model.num_features:
        raise InputError(
            f"the rows of the source's classifier read {classifier.weight.shape[1]} features and the model gives "
            f"{model.num_features}: take start=prior or fit"
        )


def match_labels(
    space: LabelSpace, classifier: Classifier, aliases: Mapping[str, Sequence[str]]
) -> dict[int, list[int]]:
    """Returns which rows of the classifier each label takes, by column; raises InputError if it is none at all."""
    names = require_rows(classifier, "by_name")
    matches = match_names(space.labels, names, aliases)
    if not matches:
        raise InputError(
            f"start=by_name: none of the {len(space.labels)} labels is the name of one of the source's "
            f"{len(names)} classes ({', '.join(names[:5])}, ...); start.aliases=<file> says which class a label is; "
            "start=prior or fit need no names"
        )
    return matches


def fit_rows(model: nn.Module, features: torch.Tensor, answers: Answers) -> list[Row]:
    """Fits the head to frozen features (N, D); a label without a positive or a negative answer keeps the prior."""
    fitted, labels = answers.find_fitted(), answers.space.labels
    if not fitted:
        return [Row(label, "prior") for label in labels]
    weight, bias, l2 = fit_best(features, answers)
    carry_rows(model, {column: (weight[column], bias[column].item()) for column in fitted})
    return [
        Row(label, "fit", f"l2 {l2:g}") if column in fitted else Row(label, "prior")
        for column, label in enumerate(labels)
    ]


def require_rows(classifier: Classifier, start: str) -> tuple[str, ...]:
    """Returns the class names of a classifier that has names and rows, else raises InputError with the reason."""
    if classifier.names is None or classifier.weight is None:
        raise InputError(f"start={start} needs the source's classifier and class names: {classifier.reason}")
    return classifier.names


def bias_of(classifier: Classifier) -> torch.Tensor:
    """Returns the biases (K,) of a classifier's rows, zeros if it has none."""
    return torch.zeros(len(classifier.weight)) if classifier.bias is None else classifier.bias


def match_names(
    labels: Sequence[str], names: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> dict[int, list[int]]:
    """Returns which classes each label is, by its aliases or its own name: column -> rows.

    Names are compared without case, `_` as a space; the name of a class may be several, divided by commas (ImageNet's).

    >>> match_names(["Goldfish", "sea"], ["tench, Tinca tinca", "goldfish, Carassius auratus"], {})
    {0: [1]}
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        for synonym in {plain(part) for part in [name, *name.split(",")]} - {""}:
            rows_of.setdefault(synonym, []).append(row)
    unknown = [f"{label}: {name}" for label, wanted in aliases.items() for name in wanted if plain(name) not in rows_of]
    unknown += [f"{label}: no such label" for label in aliases if label not in labels]
    if unknown:
        raise InputError(f"start.aliases names classes or labels that are not there:\n{list_first(unknown)}")
    matches = {}
    for column, label in enumerate(labels):
        rows = [row for name in aliases.get(label, [label]) for row in rows_of.get(plain(name), [])]
        if rows:
            matches[column] = sorted(set(rows))
    return matches


def plain(name: str) -> str:
    """Returns a name as names are compared.

    >>> plain(" Sea_Lion ")
    'sea lion'
    """
    return " ".join(name.replace("_", " ").casefold().split())


def read_aliases(path: str | None) -> dict[str, list[str]]:
    """Returns the class names of each label from a YAML or JSON file; none without a file."""
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"start.aliases={path}: there is no such file")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"start.aliases={path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"start.aliases={path} must be a mapping, label: class name or list of class names")
    lists = {label: names if isinstance(names, list) else [names] for label, names in content.items()}
    no_text = [
        f"{label}: {content[label]}"
        for label, names in lists.items()
        if not names or not all(map(is_text, (label, *names)))
    ]
    if no_text:
        raise InputError(
            f"start.aliases={path} has labels or class names that are no text; YAML takes yes, no, on, off and null "
            f"for other things unless they are in quotes:\n{list_first(no_text)}"
        )
    return {str(label): [str(name) for name in names] for label, names in lists.items()}


def is_text(value: object) -> bool:
    """Returns whether YAML read a word or a number, which is a name too."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def log_table(rows: Sequence[Row]) -> None:
    """Says how many labels got what, and which classes were carried over."""
    counts = Counter(row.start for row in rows)
    log.info("first weights of the labels: %s", ", ".join(f"{count} {start}" for start, count in counts.items()))
    carried = [
        f"{show_label(row.label)} <- {show_label(row.source)} (x {row.scale:.3g})"
        for row in rows
        if row.start == "carried"
    ]
    if carried:
        log.info(list_first(carried, limit=25))


def format_table(rows: Sequence[Row]) -> str:
    """Returns the table as CSV with the columns of `Row`."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "start", "source", "scale", "bias"])
    for row in rows:
        numbers = ["" if np.isnan(number) else f"{number:.4f}" for number in (row.scale, row.bias)]
        writer.writerow([row.label, row.start, row.source, *numbers])
    return text.getvalue()
