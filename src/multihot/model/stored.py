"""A best/ folder on the disk: what config.json says, so that timm and transformers read it right or refuse it, and the
names of the tensors.

A head of our own loads nowhere else. That no loader takes its tensors for a classifier's, their names begin with OWN;
that none leaves a head random, the architecture is one that timm does not know. `two_logit` is one linear layer, and is
stored as that. Of labels that exclude each other the model type is one that transformers does not know: it would put
one softmax, or none, over all of them.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multihot.decisions.decisions import DECISIONS_FILE, Decisions
from multihot.files import link_or_copy, publish_folder, read_json, save_tensors, stage_folder, write_text
from multihot.json_shapes import MODEL_CONFIG
from multihot.labels import LabelSpace
from multihot.ownership import MODEL
from multihot.seal import check_model, seal

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "model.safetensors"
OWN = "multihot_"  # before the names of a head's tensors
LOADER = "multihot.model.saved.load_model"
OF_DECISIONS = ("thresholds", "cuts", "calibration")  # of decisions.json, in config.json too


def complete_config(config: Mapping, space: LabelSpace) -> dict:
    """Returns what timm writes into config.json, with our `head`, as others shall find it.

    Args:
        config: also one of before, or one that is complete.
    """
    head, name = config["head"], name_architecture(config)
    head_name = None if is_linear(head) else head["_target_"].rpartition(".")[2]
    new = {**config, "architecture": name, "head": None if is_linear(head) else head}
    new["label_space"] = space.to_config()
    if "model_args" in config:  # transformers hands over num_classes twice, if it is there too
        new["model_args"] = {key: value for key, value in config["model_args"].items() if key != "num_classes"}
    if head_name:
        new["architecture"] = f"{name} with the head {head_name}, which {LOADER} loads"
        new["backbone"] = name
    if space.is_single_label:
        new["problem_type"] = "single_label_classification"
    elif not space.groups:
        new["problem_type"] = "multi_label_classification"
    reasons = [f"the head {head_name}"] if head_name else []
    reasons += ["groups of labels that exclude each other"] if "problem_type" not in new else []
    if reasons:
        new["model_type"] = f"multihot model with {' and '.join(reasons)}"
    return new


def name_architecture(config: Mapping) -> str:
    """Returns timm's name of the model in a config.json, whatever head it has."""
    return config.get("backbone", config["architecture"])


def is_linear(head: Mapping | None) -> bool:
    """Returns whether a head, by its settings, is stored as timm's own linear layer."""
    return head is None or is_pairs(head)


def is_pairs(head: Mapping | None) -> bool:
    """Returns whether a head, by its settings, has two logits a label."""
    return head is not None and head["_target_"].rpartition(".")[2] == "TwoLogit"


def rename_to_store(
    state: Mapping[str, "Tensor"], head: Mapping | None, classifiers: Iterable[str]
) -> dict[str, "Tensor"]:
    """Returns the tensors of a model under the names that they have in its file.

    Args:
        head: its settings.
        classifiers: the names of its classifiers.
    """
    if is_pairs(head):
        return join_pairs(state, classifiers)
    inside = () if head is None else tuple(f"{name}." for name in classifiers)
    return {f"{OWN}{key}" if key.startswith(inside) else key: value for key, value in state.items()}


def rename_from_store(state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Returns the tensors of a file under the names that they have in the model."""
    return {key.removeprefix(OWN): value for key, value in state.items()}


def join_pairs(state: Mapping[str, "Tensor"], classifiers: Iterable[str]) -> dict[str, "Tensor"]:
    """Returns the tensors with one logit a label in the place of two, which is their difference: see TwoLogit."""
    inside = {f"{name}.classifier.": f"{name}." for name in classifiers}
    names = {key: new + key.removeprefix(old) for old, new in inside.items() for key in state if key.startswith(old)}
    return {names.get(key, key): present_less_absent(value) if key in names else value for key, value in state.items()}


def join_old_pairs(
    state: Mapping[str, "Tensor"], config: Mapping, classifiers: Iterable[str]
) -> Mapping[str, "Tensor"]:
    """Returns the tensors of a file as they are stored now: before, two logits a label were."""
    return join_pairs(state, classifiers) if is_pairs(config.get("head")) else state


def present_less_absent(pairs: "Tensor") -> "Tensor":
    """Returns (C, ...) of rows (2C, ...), in which each label has one of absent and one of present."""
    return pairs[1::2] - pairs[0::2]


def add_decisions(config: Mapping, decisions: Decisions | None) -> dict:
    """Returns config.json with what decides by decisions.json in the place of its own, for other software."""
    model = {name: value for name, value in config.items() if name not in OF_DECISIONS}
    fitted = {} if decisions is None else decisions.to_config()
    return model | {name: fitted[name] for name in OF_DECISIONS if name in fitted}


def read_config(folder: Path) -> dict:
    """Returns what config.json of a `best/` folder holds; raises InputError if it is damaged."""
    return read_json(folder / CONFIG, MODEL_CONFIG)


def save_decisions(folder: Path, decisions: Decisions, model: str) -> None:
    """Writes decisions into a `best/` folder, and a copy of what others read into its config.json.

    Args:
        model: its hash.
    """
    rewrite(folder, add_decisions(read_config(folder), decisions), model=model, decisions=decisions)


def rewrite(
    folder: Path,
    config: Mapping,
    *,
    model: str | None,
    state: Mapping[str, "Tensor"] | None = None,
    decisions: Decisions | None = None,
) -> None:
    """Gives a `best/` folder another config.json, seals it anew and moves it into place: a kill leaves one of the two.

    Args:
        model: the hash that it keeps, so that saved predictions stay those of this model; None: they are of another.
        state: tensors in the place of its own.
        decisions: in the place of its own, if it has any.

    Raises:
        InputError: it is not as it was written.
    """
    check_model(folder)
    new = stage_folder(folder)
    write_text(new / CONFIG, to_text(config))
    if state is None:
        link_or_copy(folder / WEIGHTS, new / WEIGHTS)
    else:
        save_tensors(new / WEIGHTS, state)
    seal(new, {} if model is None else {"model": model})
    if decisions is not None:  # not sealed: damaged ones are fitted anew, the model stays
        decisions.save(new)
    elif (folder / DECISIONS_FILE).exists():
        shutil.copy2(folder / DECISIONS_FILE, new / DECISIONS_FILE)
    publish_folder(folder, MODEL)


def to_text(config: Mapping) -> str:
    """Returns config.json as timm writes it."""
    return json.dumps(config, indent=2)
