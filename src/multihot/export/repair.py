"""The model of a run of before, as a training stores it now and as timm and transformers read it."""

from collections.abc import Mapping

import timm

from multihot.errors import InputError
from multihot.evaluation.decided import read_decisions
from multihot.evaluation.predictions import hash_model
from multihot.labels import LabelSpace
from multihot.model.stored import (
    CONFIG,
    WEIGHTS,
    add_decisions,
    complete_config,
    is_linear,
    name_architecture,
    read_config,
    rename_to_store,
    rewrite,
)
from multihot.model.weight_files import read_tensors
from multihot.run.folder import Run
from multihot.seal import check_model


def repair_model(run: Run, space: LabelSpace) -> list[str]:
    """Writes best/ of a run as a training does now, and returns what has changed, in words; nothing: it was so already.

    Saved predictions stay valid, except those of two logits a label, which were rounded otherwise.

    Raises:
        InputError: it is damaged, or of other labels.
    """
    check_model(run.best)
    old = read_config(run.best)
    if tuple(old["label_names"]) != space.labels:
        raise InputError(f"the model in {run.best} has other labels than its run: bring back the one or the other")
    new = add_decisions(complete_config(old, space), read_decisions(run, space))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    if not names:
        return []
    changes = [f"{CONFIG} has other {', '.join(names)}"]
    state = None
    if old["head"] is not None and "backbone" not in old:
        state = rename_to_store(read_tensors(run.best / WEIGHTS), old["head"], name_classifiers(old))
        changes.append(f"{WEIGHTS}: {describe_tensors(old['head'])}")
    rewrite(run.best, new, model=hash_model(run.best), state=state)
    return changes


def name_classifiers(config: Mapping) -> tuple[str, ...]:
    """Returns the names of the classifiers of a model in config.json."""
    names = config["pretrained_cfg"].get("classifier")
    names = names or timm.get_pretrained_cfg_value(name_architecture(config), "classifier")
    return (names,) if isinstance(names, str) else tuple(names)


def describe_tensors(head: Mapping) -> str:
    """Returns what becomes of the tensors of a head, in words."""
    if is_linear(head):
        return "two logits a label are one linear layer; evaluate.py predicts anew what was saved before"
    return "the head has names that no other loader takes for its own"
