"""Where pretrained weights come from: every source becomes timm's tensors and, apart from them, its own classifier."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import timm
from safetensors import safe_open
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.models._hub import load_model_config_from_path  # private: timm's public one reads from the hub alone
from torch import Tensor, nn

from multihot.errors import InputError, first_line
from multihot.files import is_address
from multihot.labels import LabelSpace
from multihot.model.architecture import head_keys, outline_of
from multihot.model.hub import explain_hub_errors
from multihot.model.huggingface import HF_MODELS, read_hf_folder
from multihot.model.state import check_finite, check_state, pick_state
from multihot.model.stored import join_old_pairs, name_architecture
from multihot.model.weight_file_kinds import SAFETENSORS, describe_place, find_kind
from multihot.model.weight_files import (
    WEIGHTS_FILES,
    Classifier,
    Source,
    find_weights_file,
    read_json,
    read_json_file,
    read_tensors,
    split_classifier,
)
from multihot.seal import check_model

ALLOWED = "a .safetensors or .pth file, a timm folder, a Hugging Face ViT or DINOv2 folder, or a run folder"

NO_POOLING = "its head read tokens and it has no attention pooling: heads on pooled features get the mean of the tokens"


def read_source(weights: str, name: str) -> Source:
    """Returns what `weights` holds for the timm model `name`; never runs code from it.

    `weights` is a .safetensors or .pth file (of a timm training: the averaged weights, if it has them), a timm folder,
    also as `local-dir:<folder>`, a Hugging Face ViT or DINOv2 folder, a run folder (its best/), or `shipped:<name>`.

    Raises:
        InputError: there is no such file, it cannot be read, or the folder is of another kind or architecture.
    """
    if ":" in name:
        raise InputError(
            f"model.weights={weights} needs the name of its architecture in timm, such as "
            f"model.name=vit_base_patch16_224, not model.name={name}"
        )
    path, outline = find_weights(weights), outline_of(name)
    source = read_folder(path, name, outline) if path.is_dir() else read_file(path, name, outline)
    if not source.state:
        raise InputError(f"{path} holds a classifier and nothing else; model.weights needs the whole model")
    check_state(source.state, outline, source.path)
    return replace(source, state={key: value for key, value in source.state.items() if key not in head_keys(name)})


def read_classifier(
    name: str, *, pretrained: bool, weights: str | None, class_names: str | Sequence[str] | None
) -> Classifier:
    """Returns the classifier of the source that `create_model` takes its weights from.

    Args:
        class_names: in place of the source's own: a text file with one a line, a list, or `imagenet`.

    Raises:
        InputError: as `read_source`, or there are more or fewer class names than rows.
    """
    if weights is not None:
        source = read_source(weights, name)
        classifier = source.classifier
        rows = {"weight": classifier.weight, "bias": classifier.bias}
        check_finite({key: value for key, value in rows.items() if value is not None}, f"classifier of {source.path}")
    elif pretrained:
        classifier = read_hub_classifier(name)
    else:
        classifier = Classifier(None, None, None, False, "the model starts from random weights")
    return classifier if class_names is None else rename_classes(classifier, class_names)


def find_weights(weights: str) -> Path:
    """Returns the path of a local source; `shipped:<name>` is one that comes with this package."""
    if weights.startswith("shipped:"):
        folder = Path(str(files("multihot.model") / "weights"))
        path = folder / f"{weights.removeprefix('shipped:')}.safetensors"
        choices = "shipped are: " + ", ".join(sorted(file.stem for file in folder.glob("*.safetensors")))
    elif is_address(weights.removeprefix("local-dir:")):
        raise InputError(f"model.weights={weights}: {explain_address(weights)}")
    else:
        path, choices = Path(os.path.expanduser(weights.removeprefix("local-dir:"))), f"give {ALLOWED}"
    try:
        is_there = path.exists()
    except OSError as error:  # no permission for a folder on the way, or too long
        raise InputError(f"model.weights={weights[:200]} cannot be looked for: {error.strerror}") from error
    if path.is_symlink() and not is_there:
        choices = f"it is {describe_place(path)}"
    if not is_there:
        of_hub = f", or {explain_address(f'hf-hub:{weights}')}" if re.fullmatch(r"[\w.-]+/[\w.-]+", weights) else ""
        raise InputError(f"model.weights={weights}: there is no {path}; {choices}{of_hub}")
    return path


def check_source(weights: str | None) -> None:
    """Raises InputError unless `model.weights` is null, a folder, or a file that may hold tensors; none is read."""
    if weights is not None and not find_weights(weights).is_dir():
        find_kind(find_weights(weights))


def explain_address(address: str) -> str:
    """Returns what to do with an address of weights, which must be on the disk."""
    kind, _, place = address.partition(":")
    place = place.lstrip("/")
    if kind in ("http", "https"):
        return f"it must be a local file; download it first: curl -LO {address}"
    if kind in ("hf", "hf-hub", "hf_hub"):
        return (
            f"for a timm model on the Hugging Face hub set model.name=hf-hub:{place} model.pretrained=true "
            f"model.weights=null; another is downloaded first: hf download {place} --local-dir <folder>"
        )
    if kind == "file":
        return f"give its path: model.weights=/{place}"
    return f"copy it to a local file first, and give its path ({ALLOWED})"


def read_file(path: Path, name: str, outline: nn.Module) -> Source:
    """Returns a single file; its metadata, if it is a .safetensors file, may name the classes."""
    (state, note), metadata = pick_state(read_tensors(path), outline), {}
    if find_kind(path) == SAFETENSORS:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    names = read_json(metadata["label_names"], path) if "label_names" in metadata else None
    layers = timm.get_pretrained_cfg_value(name, "classifier")
    state, classifier = split_classifier(state, layers, names, metadata.get("is_multi_label") == "true")
    return Source(path, state, classifier, note=note)


def read_folder(folder: Path, name: str, outline: nn.Module) -> Source:
    """Returns a timm folder, a Hugging Face folder, or the best model of a run folder."""
    if (folder / "config.yaml").is_file() and (folder / "best").is_dir():
        return read_timm_folder(folder / "best", name, outline)
    config = read_json_file(folder / "config.json") if (folder / "config.json").is_file() else {}
    if config.get("architecture"):
        return read_timm_folder(folder, name, outline)
    if "architectures" in config:
        with explain_config(folder):
            return read_hf_folder(folder, config)
    single = sorted(path.name for path in folder.glob("*") if path.suffix in (".pth", ".pt", ".safetensors", ".ckpt"))
    if single:
        raise InputError(f"{folder} is no folder of a model, as it has no config.json; give a file in it: {single[:5]}")
    raise InputError(
        f"{folder} is no folder of weights. It needs {' or '.join(WEIGHTS_FILES)} and a config.json with\n"
        f'  timm: "architecture"\n  Hugging Face: "architectures", one of {", ".join(HF_MODELS)}\n'
        "or, as a run folder, config.yaml and best/"
    )


@contextmanager
def explain_config(folder: Path) -> Iterator[None]:
    """Turns what values of a wrong kind in a folder's config raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{folder}: its config.json or preprocessor_config.json has a value of another kind than timm and "
            f"transformers write ({type(error).__name__}: {first_line(error)})"
        ) from error


def read_timm_folder(folder: Path, name: str, outline: nn.Module) -> Source:
    """Returns a folder in timm's hub layout, a best/ too, with its own model arguments and preprocessing.

    A model whose head pools for itself has been saved with pooling off; without that head it gets its family's again,
    but for an attention pooling, whose weights are gone: tokens are averaged in its place.
    """
    check_model(folder)
    path = find_weights_file(folder)
    config = read_json_file(folder / "config.json")  # timm would not name a broken one
    with explain_config(folder):
        pretrained_cfg, _, kwargs = load_model_config_from_path(folder)
        architecture = name_architecture(config)
        names = describe_classes(pretrained_cfg)
    if architecture != name.partition(".")[0]:
        raise InputError(f"{folder} holds a {architecture}, not a {name}: set model.name={architecture}")
    layers = pretrained_cfg.get("classifier") or timm.get_pretrained_cfg_value(name, "classifier")
    layers = (layers,) if isinstance(layers, str) else tuple(layers or ())
    state, note = pick_state(join_old_pairs(read_tensors(path), config, layers), outline)
    state, classifier = split_classifier(state, layers, names, is_multi_label(config))
    kwargs = dict(kwargs or {})
    if kwargs.get("global_pool") == "":
        del kwargs["global_pool"]
        if has_pooling(outline.state_dict()) and not has_pooling(state):
            kwargs["global_pool"] = "avg"
            note = f"{note}; {NO_POOLING}" if note else NO_POOLING
    return Source(folder, state, classifier, kwargs, pretrained_cfg, note=note)


def has_pooling(state: Mapping[str, Tensor]) -> bool:
    """Returns whether the tensors of a model are also those of an attention that pools."""
    return any(key.startswith("attn_pool.") for key in state)


def is_multi_label(config: Mapping) -> bool:
    """Returns whether the model of a timm folder, by its config.json, is another than one softmax over all classes.

    A best/ holds its label space; a folder without one is taken for a softmax.
    """
    space = config.get("label_space")
    return space is not None and not LabelSpace.from_config(space).is_single_label


def read_hub_classifier(name: str) -> Classifier:
    """Returns the classifier of a model on the Hugging Face hub; class names of ImageNet follow from their number."""
    with explain_hub_errors(name):
        model = timm.create_model(name, pretrained=True)
    names = describe_classes(model.pretrained_cfg) or name_imagenet(model.num_classes)
    return split_classifier(model.state_dict(), model.pretrained_cfg["classifier"], names)[1]


def describe_classes(pretrained_cfg: dict) -> list[str] | dict[str, str]:
    """Returns timm's label names, one a row or by row, with a description where there is one (ImageNet's synsets)."""
    names, descriptions = pretrained_cfg.get("label_names") or [], pretrained_cfg.get("label_descriptions") or {}
    if isinstance(names, Mapping):
        return {row: descriptions.get(name, name) for row, name in names.items()}
    return [descriptions.get(name, name) for name in names]


def rename_classes(classifier: Classifier, class_names: str | Sequence[str]) -> Classifier:
    """Returns the classifier with these class names: a file with one a line, a list, or `imagenet`."""
    if class_names == "imagenet":
        names = name_imagenet(0 if classifier.weight is None else len(classifier.weight))
        if names is None:
            raise InputError(
                f"start.class_names=imagenet: {describe_rows(classifier)}, unlike ImageNet's classifiers; "
                "give a text file with one name a line, or a list"
            )
    elif isinstance(class_names, Mapping):
        raise InputError(f"start.class_names={class_names}: give a list in the order of the rows, a file, or imagenet")
    else:
        names = read_names(class_names) if isinstance(class_names, str) else tuple(str(name) for name in class_names)
    if classifier.weight is None:
        return replace(classifier, names=names)
    if len(names) != len(classifier.weight):
        raise InputError(
            f"start.class_names has {len(names)} names and {describe_rows(classifier)}; give one a row, in their order"
        )
    return replace(classifier, names=names, reason="")


def describe_rows(classifier: Classifier) -> str:
    """Returns how many rows the classifier has, in words."""
    return "the source has no rows" if classifier.weight is None else f"the source has {len(classifier.weight)} rows"


def name_imagenet(num_classes: int) -> tuple[str, ...] | None:
    """Returns the WordNet descriptions of an ImageNet classifier with so many rows, None if there is none.

    >>> name_imagenet(1000)[:2]
    ('tench, Tinca tinca', 'goldfish, Carassius auratus')
    """
    subset = infer_imagenet_subset({"num_classes": num_classes})
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else None


def read_names(path: str) -> tuple[str, ...]:
    """Returns the lines of a text file that are not empty."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"start.class_names={path} cannot be read ({error}); give a text file with one name a line, a list, "
            "or imagenet"
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
