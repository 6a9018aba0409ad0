"""What a file or folder of weights holds: tensors under clean keys and, apart from them, the classifier."""

import argparse
import codecs
import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PosixPath

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multihot.errors import InputError, first_line, name_first
from multihot.model.state import flatten
from multihot.model.stored import rename_from_store
from multihot.model.weight_file_kinds import AS_TENSORS, DOWNLOAD, SAFETENSORS, find_kind

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # what a folder may hold, the first that is there
PLAIN_VALUES = [  # classes that hold values and run nothing: arguments, paths, scores and random states of NumPy
    *(argparse.Namespace, PosixPath, codecs.encode),
    *(np.ndarray, np.dtype, np._core.multiarray._reconstruct, np._core.multiarray.scalar),
    *{type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "uint32", "bool")},
]
UNREADABLE = (  # what torch and safetensors raise
    OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError, ArithmeticError,
    pickle.UnpicklingError, SafetensorError,
)  # fmt: skip


@dataclass(frozen=True)
class Classifier:
    """The classifier of a source: one row of weights a class, as far as they are known."""

    names: tuple[str, ...] | None  # one a row; ImageNet's are synonyms with commas between them
    weight: Tensor | None  # (K, D) float32
    bias: Tensor | None  # (K,) float32
    is_multi_label: bool  # its rows were trained with a sigmoid each, not with one softmax
    reason: str  # why names or weight are None; empty if neither is


@dataclass(frozen=True)
class Source:
    """What a local source holds: `state` fits timm's model of that name built with `kwargs`."""

    path: Path
    state: dict[str, Tensor]  # without the classifier
    classifier: Classifier
    kwargs: dict = field(default_factory=dict)  # model arguments that the shapes of the tensors do not show
    pretrained_cfg: dict | None = None  # a timm folder's own, in place of the one that timm has for the name
    preprocessing: dict = field(default_factory=dict)  # entries of the pretrained config that differ from timm's
    note: str = ""  # what was taken of the file, in words; empty if all


def find_weights_file(folder: Path) -> Path:
    """Returns the file of a folder that holds the tensors."""
    for file in WEIGHTS_FILES:
        if (folder / file).is_file():
            return folder / file
    raise InputError(f"{folder} has no weights: it needs {' or '.join(WEIGHTS_FILES)}{describe_other_files(folder)}")


def describe_other_files(folder: Path) -> str:
    """Returns the way out for a folder that holds its weights in parts, or those of another library."""
    names = sorted(path.name for path in folder.iterdir())
    if any(name.endswith(".index.json") or "-of-0" in name for name in names):
        return (
            ", one file and not in parts. transformers puts them together: AutoModel.from_pretrained(folder)"
            '.save_pretrained(new_folder, max_shard_size="50GB")'
        )
    return f"; it has {name_first(names)}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns `read_stored_tensors`, those of a head of our own under the names that they have in the model."""
    return rename_from_store(read_stored_tensors(path))


def read_stored_tensors(path: Path) -> dict[str, Tensor]:
    """Returns all tensors of a .safetensors or pickled file, those inside of mappings under dotted keys.

    How the file was written shows in its content, not in its name. No code in it is run.
    """
    kind = find_kind(path)
    try:
        content = load_file(path) if kind == SAFETENSORS else load_pickle(path)
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as weights: {describe_damage(error)}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no dict of tensors but {type(content).__name__}: {AS_TENSORS}")
    tensors = dict(flatten(content))
    if not tensors:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise InputError(f"{path} holds no state dict, alone or inside of others, but {found}; {AS_TENSORS}")
    return tensors


def load_pickle(path: Path) -> object:
    """Returns what torch.save wrote: tensors, and plain values as trainings keep them beside."""
    with torch.serialization.safe_globals(PLAIN_VALUES), warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore", UserWarning)  # of what is refused below, or loads well
        return torch.load(file, map_location="cpu", weights_only=True)  # of a path it would look at the name


def describe_damage(error: Exception) -> str:
    """Returns in one line why a file could not be read."""
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return f"it holds more than tensors and loading it would run code ({code[1]}); {AS_TENSORS}"
    fault = re.search(r"WeightsUnpickler error:\s*([^\n]+)", str(error))
    if fault:
        return f"it holds what cannot be read without running code, or is damaged ({fault[1][:100]}); {AS_TENSORS}"
    return f"it is damaged or cut short ({first_line(error)[:100]}); {DOWNLOAD}"


def split_classifier(
    state: Mapping[str, Tensor],
    layers: str | Sequence[str] | None,
    names: Sequence[str] | Mapping[str, str] | None,
    is_multi_label: bool = False,
) -> tuple[dict[str, Tensor], Classifier]:
    """Returns the state dict without its classifier layers, and the classifier.

    Args:
        layers: timm's names of the classifier layers, e.g. `head`.
        names: of the classes; a mapping from the row's number may leave rows out, their name is then empty.
    """
    layers = (layers,) if isinstance(layers, str) else tuple(layers or ())
    inside = {key: value for key, value in state.items() if key.startswith(tuple(f"{layer}." for layer in layers))}
    rest = {key: value for key, value in state.items() if key not in inside}
    weight, bias, reason = find_rows(inside, layers)
    names = list_names(names, None if weight is None else len(weight))
    if weight is not None and names is None:
        reason = "its classes have no names: set start.class_names"
    elif weight is not None and len(names) != len(weight):
        names, reason = None, f"it has {len(weight)} rows and {len(names)} class names: set start.class_names"
    return rest, Classifier(names, weight, bias, is_multi_label, reason)


def find_rows(state: Mapping[str, Tensor], layers: Sequence[str]) -> tuple[Tensor | None, Tensor | None, str]:
    """Returns weight (K, D) and bias (K,) of the one linear layer in a classifier's state, or why there is none."""
    found = [layer for layer in layers if f"{layer}.weight" in state]
    if not state:
        return None, None, "it has no classifier"
    if len(found) > 1:
        return None, None, f"it averages {len(found)} classifiers ({', '.join(found)}): a class has no row of its own"
    if not found or state[f"{found[0]}.weight"].ndim != 2 or len(state) > 2:
        return None, None, "its classifier is not linear"
    weight, bias = state[f"{found[0]}.weight"], state.get(f"{found[0]}.bias")
    if not weight.is_floating_point() or weight.dtype.itemsize == 1:
        return None, None, f"its rows are {str(weight.dtype).removeprefix('torch.')}: quantised, and no weights"
    return weight.float(), None if bias is None else bias.float(), ""


def list_names(names: Sequence[str] | Mapping[str, str] | None, num_rows: int | None) -> tuple[str, ...] | None:
    """Returns class names in the order of their rows.

    >>> list_names({"0": "cat", "2": "dog"}, num_rows=4)
    ('cat', '', 'dog', '')
    """
    if not names:
        return None
    if isinstance(names, str) or (isinstance(names, Mapping) and not all(str(row).isdecimal() for row in names)):
        raise InputError(f"class names must be a list, or a mapping from the number of the row: {str(names)[:80]}")
    if isinstance(names, Mapping):
        by_row = {int(row): name for row, name in names.items()}
        names = [by_row.get(row, "") for row in range(max(num_rows or 0, max(by_row) + 1))]
    return tuple(str(name) for name in names)


def read_json_file(path: Path) -> dict:
    """Returns the object in a JSON file."""
    try:
        content = read_json(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def read_json(text: str, path: Path) -> dict | list:
    """Returns the value in JSON text from a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} holds broken JSON: {error}") from error
