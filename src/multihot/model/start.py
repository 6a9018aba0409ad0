"""The first weights of a head: random, the prior, rows carried over by class name, or a fit on frozen features."""

import csv
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from multihot.data.manifest import Manifest, target_of
from multihot.errors import InputError, check_choice, list_first
from multihot.labels import LabelSpace, show_label
from multihot.loss import UnknownStrategy
from multihot.model.heads import carry_rows, start_at_log_odds
from multihot.model.logistic import IGNORE, create_likelihood, fit_logistic, fit_scales
from multihot.model.prior import mean_one, prior_log_odds
from multihot.model.weight_files import Classifier

log = logging.getLogger(__name__)

STARTS = ("prior", "random", "by_name", "fit", "keep")
L2_STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of half the squared weights, against the sum of the losses over images


@dataclass(frozen=True)
class Row:
    """Where a label's first weights come from: one line of the table."""

    label: str
    start: str  # carried | prior | fit | kept | new
    source: str = ""  # class names
    scale: float = float("nan")
    bias: float = float("nan")


def start_head(
    model: nn.Module,
    start: str,
    space: LabelSpace,
    train_data: Manifest,
    *,
    read_classifier: Callable[[], Classifier],
    pooled_features: Callable[[], torch.Tensor],
    aliases: str | None = None,
    grow: bool = False,
    unknown: UnknownStrategy = IGNORE,
) -> list[Row]:
    """Gives the fresh head its first weights and returns what each label got.

    What is counted or fitted are the answers as the loss is given them, and each image by its weight.

    Args:
        start: `random` as the head was made; `prior`: zero weights and the log-odds of each label's frequency;
            `by_name`: rows of the source's classes that are called as labels, scaled; `fit`: logistic regression;
            `keep`: rows of a multi-label source, unchanged.
        read_classifier: gives the source's own classifier; called only if it is needed.
        pooled_features: gives those of the train split (N, D); called only if needed.
        aliases: a YAML or JSON file, `{label: class name or list of them}`.
        grow: with `keep`, labels that the source lacks start from the prior.
        unknown: what the loss takes an unknown answer for.
    """
    check_choice("head.start", start, STARTS)
    if start in ("by_name", "fit", "keep"):
        carry_rows(model, {})  # a head that cannot take rows is refused before any work
    log_odds = prior_log_odds(space, train_data, unknown)
    image_weight = None if train_data.weights is None else torch.from_numpy(mean_one(train_data.weights)).float()
    if start != "random":
        start_at_log_odds(model, log_odds)
    if start in ("random", "prior"):
        table = [Row(label, start) for label in space.labels]
    elif start == "keep":
        table = keep_rows(model, space, read_classifier(), grow)
    elif start == "fit":
        target = target_of(train_data).float()
        table = fit_rows(model, space, check_features(pooled_features(), train_data), target, image_weight, unknown)
    else:
        classifier, target = read_classifier(), target_of(train_data).float()
        matches = match_labels(space, classifier, read_aliases(aliases))
        check_width(classifier, model)
        features = check_features(pooled_features(), train_data)
        table = carry_by_name(model, space, classifier, matches, log_odds, features, target, image_weight, unknown)
    counts = Counter(row.start for row in table)
    log.info("first weights of the labels: %s", ", ".join(f"{count} {start}" for start, count in counts.items()))
    carried = [
        f"{show_label(row.label)} <- {show_label(row.source)} (x {row.scale:.3g})"
        for row in table
        if row.start == "carried"
    ]
    if carried:
        log.info(list_first(carried, limit=25))
    return table


def keep_rows(model: nn.Module, space: LabelSpace, classifier: Classifier, grow: bool) -> list[Row]:
    """Takes over the rows of a multi-label classifier by name, unchanged; with `grow` new labels keep the prior.

    Raises:
        InputError: the source has a label that is not wanted, or lacks one that is, and `grow` is off.
    """
    names, bias = require_rows(classifier, "keep"), bias_of(classifier)
    check_width(classifier, model)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"head.start=keep: the source has these labels more than once:\n{list_first(twice)}")
    if not classifier.is_multi_label:
        raise InputError("head.start=keep needs a multi-label source; rows of a softmax classifier take by_name")
    missing = [label for label in space.labels if label not in names]
    dropped = [name for name in names if name not in space.labels]
    if dropped or (missing and not grow):
        problems = [f"{label!r}: not in the source (head.grow=true adds it)" for label in missing]
        problems += [f"{name!r}: only in the source (name it in data.labels)" for name in dropped]
        raise InputError(f"the labels of the data are not those of the source:\n{list_first(problems)}")
    place = {name: row for row, name in enumerate(names)}
    kept = {column: place[label] for column, label in enumerate(space.labels) if label in place}
    carry_rows(model, {column: (classifier.weight[row], bias[row].item()) for column, row in kept.items()})
    return [Row(label, "new" if column not in kept else "kept") for column, label in enumerate(space.labels)]


def carry_by_name(
    model: nn.Module,
    space: LabelSpace,
    classifier: Classifier,
    matches: Mapping[int, Sequence[int]],
    prior: torch.Tensor,
    features: torch.Tensor,
    target: torch.Tensor,
    image_weight: torch.Tensor | None = None,
    unknown: UnknownStrategy = IGNORE,
) -> list[Row]:
    """Carries over the rows of the classes that labels match, each with a scale and a bias fitted to the data.

    A softmax logit says how one class compares with the others, not how likely it is. Log-odds are a * logit + b, with
    a and b of each label by logistic regression (Platt scaling) on features (N, D) and target (N, C) of images that
    count their weights (N,); those of an exclusive group are fitted together. The other labels have their logits
    `prior` (C,).
    """
    rows, table, biases = {}, {}, bias_of(classifier)
    carried = [column for column in find_fitted(space, target, image_weight, unknown) if column in matches]
    for part, columns in parts_of(space):
        places = [place for place, column in enumerate(columns) if column in carried]
        if not places:
            continue
        classes = [matches[columns[place]] for place in places]
        weight = torch.stack([classifier.weight[found].float().mean(dim=0) for found in classes])
        bias = torch.stack([biases[found].float().mean() for found in classes])
        scale, offset = fit_scales(
            features @ weight.T + bias, target[:, columns], part, places, prior[columns], image_weight, unknown
        )
        weight, bias = scale[:, None] * weight, scale * bias + offset
        for number, place in enumerate(places):
            names = "; ".join(classifier.names[row] for row in classes[number])
            rows[columns[place]] = weight[number], bias[number].item()
            table[columns[place]] = Row(part.labels[place], "carried", names, scale[number].item(), bias[number].item())
    carry_rows(model, rows)
    return [table.get(column, Row(label, "prior")) for column, label in enumerate(space.labels)]


def parts_of(space: LabelSpace) -> list[tuple[LabelSpace, list[int]]]:
    """Returns each independent label and each exclusive group as a space of its own, with its columns."""
    labels = [(LabelSpace((space.labels[column],)), [column]) for column in space.independent]
    return labels + [
        (LabelSpace(group.labels, (group,)), columns)
        for group, columns in zip(space.groups, space.columns, strict=True)
    ]


def check_features(features: torch.Tensor, data: Manifest) -> torch.Tensor:
    """Returns the features (N, D); raises InputError with the images of which they are not finite."""
    faults = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if faults:
        raise InputError(
            f"the model gives NaN or infinite features for {len(faults)} of {len(data)} images; try "
            f"mixed_precision=no, or other weights:\n{list_first([data.images[row] for row in faults])}"
        )
    return features


def check_width(classifier: Classifier, model: nn.Module) -> None:
    """Raises InputError if the rows of a classifier read another number of features than the model gives."""
    if classifier.weight.shape[1] != model.num_features:
        raise InputError(
            f"the rows of the source's classifier read {classifier.weight.shape[1]} features and the model gives "
            f"{model.num_features}: take head.start=prior or fit"
        )


def match_labels(
    space: LabelSpace, classifier: Classifier, aliases: Mapping[str, Sequence[str]]
) -> dict[int, list[int]]:
    """Returns which rows of the classifier each label takes, by column; raises InputError if it is none at all."""
    names = require_rows(classifier, "by_name")
    matches = match_names(space.labels, names, aliases)
    if not matches:
        raise InputError(
            f"head.start=by_name: none of the {len(space.labels)} labels is the name of one of the source's "
            f"{len(names)} classes ({', '.join(names[:5])}, ...); head.aliases=<file> says which class a label is; "
            "head.start=prior or fit need no names"
        )
    return matches


def fit_rows(
    model: nn.Module,
    space: LabelSpace,
    features: torch.Tensor,
    target: torch.Tensor,
    image_weight: torch.Tensor | None = None,
    unknown: UnknownStrategy = IGNORE,
) -> list[Row]:
    """Fits the head to frozen features (N, D) and target (N, C): L2-regularised logistic regression of each label.

    The strength of the regularisation is the one with the least loss on every fifth image, when fitted to the others.
    Images count their weights (N,). A label without a positive or a negative answer keeps the prior.
    """
    fitted = find_fitted(space, target, image_weight, unknown)
    if not fitted:
        return [Row(label, "prior") for label in space.labels]
    held_out = torch.arange(len(features)) % 5 == 0
    held_weight, other_weight = (None if image_weight is None else image_weight[p] for p in (held_out, ~held_out))
    losses = {}
    for l2 in L2_STRENGTHS:
        weight, bias = fit_logistic(features[~held_out], target[~held_out], space, l2, other_weight, unknown)
        logits = features[held_out] @ weight.T + bias
        losses[l2] = create_likelihood(space, unknown)(logits, target[held_out], held_weight).item()
    best = min(losses, key=losses.get)
    weight, bias = fit_logistic(features, target, space, best, image_weight, unknown)
    carry_rows(model, {column: (weight[column], bias[column].item()) for column in fitted})
    return [
        Row(label, "fit" if column in fitted else "prior", f"l2 {best:g}" if column in fitted else "")
        for column, label in enumerate(space.labels)
    ]


def find_fitted(
    space: LabelSpace, target: torch.Tensor, image_weight: torch.Tensor | None, unknown: UnknownStrategy
) -> list[int]:
    """Returns the columns of target (N, C) in which images that count have a positive and a negative answer."""
    target = target if image_weight is None else target[image_weight > 0]
    is_absent = (target >= 0) & (target < 0.5)
    if unknown.element_weight:
        is_absent[:, space.independent] |= target[:, space.independent] < 0
    return ((target >= 0.5).any(dim=0) & is_absent.any(dim=0)).nonzero().flatten().tolist()


def require_rows(classifier: Classifier, start: str) -> tuple[str, ...]:
    """Returns the class names of a classifier that has names and rows, else raises InputError with the reason."""
    if classifier.names is None or classifier.weight is None:
        raise InputError(f"head.start={start} needs the source's classifier and class names: {classifier.reason}")
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
        raise InputError(f"head.aliases names classes or labels that are not there:\n{list_first(unknown)}")
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
        raise InputError(f"head.aliases={path}: there is no such file")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"head.aliases={path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"head.aliases={path} must be a mapping, label: class name or list of class names")
    lists = {label: names if isinstance(names, list) else [names] for label, names in content.items()}
    no_text = [
        f"{label}: {content[label]}"
        for label, names in lists.items()
        if not names or not all(map(is_text, (label, *names)))
    ]
    if no_text:
        raise InputError(
            f"head.aliases={path} has labels or class names that are no text; YAML takes yes, no, on, off and null for "
            f"other things unless they are in quotes:\n{list_first(no_text)}"
        )
    return {str(label): [str(name) for name in names] for label, names in lists.items()}


def is_text(value: object) -> bool:
    """Returns whether YAML read a word or a number, which is a name too."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def format_table(rows: Sequence[Row]) -> str:
    """Returns the table as CSV with the columns of `Row`."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "start", "source", "scale", "bias"])
    for row in rows:
        numbers = ["" if np.isnan(number) else f"{number:.4f}" for number in (row.scale, row.bias)]
        writer.writerow([row.label, row.start, row.source, *numbers])
    return text.getvalue()
