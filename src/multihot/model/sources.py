"""Where pretrained weights come from: every source becomes timm's tensors and, apart from them, its own classifier."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import timm
import torch
from huggingface_hub.errors import HfHubHTTPError
from omegaconf import OmegaConf
from PIL import Image
from safetensors import SafetensorError, safe_open
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.models import load_state_dict
from timm.models._hub import load_model_config_from_path
from torch import Tensor

from multihot.errors import InputError, check_choice

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # what a folder may hold, the first that is there
ALLOWED = "a .safetensors or .pth file, a timm folder, a Hugging Face ViT or DINOv2 folder, or a run folder"
HF_MODELS = tuple(
    f"{family}{task}"
    for family in ("ViT", "Dinov2", "Dinov2WithRegisters")
    for task in ("Model", "ForImageClassification")
)
HF_KEYS = (  # Hugging Face's part of a key -> timm's, in this order
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.mask_token", "mask_token"),  # Meta's names: timm drops the first and converts the second
    ("embeddings.register_tokens", "register_tokens"),
    ("encoder.layer.", "blocks."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.attention.", "attn."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("mlp.weights_in.", "mlp.fc1."),
    ("mlp.weights_out.", "mlp.fc2."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
    ("classifier.", "head."),
)
HF_SETTINGS = ("model_type", "hidden_size", "image_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
HF_ACTIVATIONS = {  # hidden_act -> timm's act_layer
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
LARGEST_EPS = 1e-5  # of a layer norm; timm has 1e-6, and up to here the difference is not felt


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


def read_source(weights: str, name: str) -> Source:
    """Returns what `weights` holds for the timm model `name`; never runs code from it.

    `weights` is a .safetensors or .pth file (of a timm training: the averaged weights, if it has them), a timm folder,
    also as `local-dir:<folder>`, a Hugging Face ViT or DINOv2 folder, a run folder (its best/), or `shipped:<name>`.

    Raises:
        InputError: there is no such file, it cannot be read, or the folder is of another kind or architecture.
    """
    if ":" in name:
        raise InputError(f"model.weights needs the name of a timm architecture, not model.name={name}")
    path = find_weights(weights)
    source = read_folder(path, name) if path.is_dir() else read_file(path, name)
    if not source.state:
        raise InputError(f"{path} holds a classifier and nothing else")
    return source


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
        classifier = read_source(weights, name).classifier
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
    else:
        path, choices = Path(weights.removeprefix("local-dir:")).expanduser(), f"give {ALLOWED}"
    if not path.exists():
        raise InputError(f"model.weights={weights}: there is no {path}; {choices}")
    return path


def read_file(path: Path, name: str) -> Source:
    """Returns a single file; its metadata, if it is a .safetensors file, may name the classes."""
    state, metadata = read_state(path), {}
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    names = read_json(metadata["label_names"], path) if "label_names" in metadata else None
    layers = timm.get_pretrained_cfg_value(name, "classifier")
    state, classifier = split_classifier(state, layers, names, metadata.get("is_multi_label") == "true")
    return Source(path, state, classifier)


def read_folder(folder: Path, name: str) -> Source:
    """Returns a timm folder, a Hugging Face folder, or the best model of a run folder."""
    run = folder.resolve().parent if folder.resolve().name == "best" else folder
    if (run / "config.yaml").is_file() and (run / "best").is_dir():
        source = read_timm_folder(run / "best", name)
        is_multi_label = not OmegaConf.load(run / "config.yaml").single_label
        return replace(source, classifier=replace(source.classifier, is_multi_label=is_multi_label))
    config = read_json_file(folder / "config.json") if (folder / "config.json").is_file() else {}
    if "architecture" in config:
        return read_timm_folder(folder, name)
    if "architectures" in config:
        return read_hf_folder(folder, config)
    raise InputError(
        f"{folder} is no folder of weights. It needs {' or '.join(WEIGHTS_FILES)} and a config.json with\n"
        f'  timm: "architecture"\n  Hugging Face: "architectures", one of {", ".join(HF_MODELS)}\n'
        "or, as a run folder, config.yaml and best/"
    )


def read_timm_folder(folder: Path, name: str) -> Source:
    """Returns a folder in timm's hub layout, with its own model arguments and preprocessing."""
    path = find_weights_file(folder)
    read_json_file(folder / "config.json")  # timm would not name a broken one
    pretrained_cfg, architecture, kwargs = load_model_config_from_path(folder)
    if architecture != name.partition(".")[0]:
        raise InputError(f"{folder} holds a {architecture}, not a {name}: set model.name={architecture}")
    layers = pretrained_cfg.get("classifier") or timm.get_pretrained_cfg_value(name, "classifier")
    state, classifier = split_classifier(read_state(path), layers, describe_classes(pretrained_cfg))
    return Source(folder, state, classifier, kwargs or {}, pretrained_cfg)


def read_hf_folder(folder: Path, config: dict) -> Source:
    """Returns a Hugging Face ViT or DINOv2 under timm's keys.

    Depth, width and patch size are for model.name to fit; what no shape would show is taken over: the number of heads,
    the activation, biases, input size, and the preprocessing.
    """
    check_choice(f"{folder}/config.json: architectures", config["architectures"][0], HF_MODELS)
    missing = [key for key in HF_SETTINGS if key not in config]
    if missing:
        raise InputError(f"{folder}/config.json is not complete: {', '.join(missing)} missing")
    state = rename_hf_keys(read_state(find_weights_file(folder)), config["model_type"])
    names = config.get("id2label")
    if names and all(re.fullmatch(r"LABEL_\d+", label) for label in names.values()):
        names = None  # what transformers writes where nobody has given any
    is_multi_label = config.get("problem_type") == "multi_label_classification"
    state, classifier = split_classifier(state, "head", names, is_multi_label)
    if classifier.weight is not None and classifier.weight.shape[1] == 2 * config["hidden_size"]:
        reason = "its classifier reads the class token beside the mean of the patches, a timm head only the class token"
        classifier = replace(classifier, weight=None, bias=None, reason=reason)
    preprocessing = read_hf_preprocessing(folder)
    return Source(folder, state, classifier, read_hf_kwargs(folder, config), preprocessing=preprocessing)


def rename_hf_keys(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Returns a Hugging Face state dict under timm's keys: query, key and value as one tensor, without the pooler."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix(f"{family}.")
        for old, new in HF_KEYS:
            key = key.replace(old, new)
        if not key.startswith("pooler."):
            renamed[key] = value
    for key in [key for key in renamed if ".attn.query." in key]:
        parts = [key.replace(".query.", part) for part in (".query.", ".key.", ".value.")]
        if all(part in renamed for part in parts):
            renamed[key.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def read_hf_kwargs(folder: Path, config: dict) -> dict:
    """Returns the model arguments that a Hugging Face config sets and that the shapes of its tensors do not show.

    The epsilon of the layer norms stays timm's 1e-6: plain timm could not load another from best/. Hugging Face's ViTs
    say 1e-12 where the original had 1e-6; normalised values then differ by 5e-7 of themselves at a variance of 1.
    """
    if config["layer_norm_eps"] > LARGEST_EPS:
        raise InputError(f"{folder}: layer_norm_eps is {config['layer_norm_eps']}; timm's ViTs have 1e-6, unchangeably")
    activation = "silu" if config.get("use_swiglu_ffn") else config["hidden_act"]
    check_choice(f"{folder}/config.json: hidden_act", activation, tuple(HF_ACTIVATIONS))
    return {
        "img_size": config["image_size"],
        "num_heads": config["num_attention_heads"],
        "qkv_bias": config.get("qkv_bias", True),
        "act_layer": HF_ACTIVATIONS[activation],
    }


def read_hf_preprocessing(folder: Path) -> dict:
    """Returns mean, std and interpolation as far as the folder has a preprocessor_config.json that says them."""
    if not (folder / "preprocessor_config.json").is_file():
        return {}
    config, found = read_json_file(folder / "preprocessor_config.json"), {}
    if not config.get("do_normalize", True):
        found = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    elif "image_mean" in config:
        found = {"mean": tuple(config["image_mean"]), "std": tuple(config["image_std"])}
    if "resample" in config:
        found["interpolation"] = Image.Resampling(config["resample"]).name.lower()
    return found


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


@contextmanager
def explain_hub_errors(name: str) -> Iterator[None]:
    """Turns what timm raises while it fetches `name` into an InputError with the ways out."""
    try:
        yield
    except (OSError, HfHubHTTPError) as error:
        raise InputError(
            f"the pretrained weights of {name} could not be fetched from the Hugging Face hub:\n"
            f"  {first_line(error)}\n"
            "Without a network, give a local file or folder (model.weights=path) "
            "or start from random weights (model.pretrained=false model.weights=null)."
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"{name} cannot be loaded: {error}\nmodel.pretrained=false starts from random weights"
        ) from error


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
        reason = "its classes have no names: set head.class_names"
    elif weight is not None and len(names) != len(weight):
        names, reason = None, f"it has {len(weight)} rows and {len(names)} class names: set head.class_names"
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
    return weight.float(), None if bias is None else bias.float(), ""


def list_names(names: Sequence[str] | Mapping[str, str] | None, num_rows: int | None) -> tuple[str, ...] | None:
    """Returns class names in the order of their rows.

    >>> list_names({"0": "cat", "2": "dog"}, num_rows=4)
    ('cat', '', 'dog', '')
    """
    if not names:
        return None
    if isinstance(names, Mapping):
        by_row = {int(row): name for row, name in names.items()}
        names = [by_row.get(row, "") for row in range(max(num_rows or 0, max(by_row) + 1))]
    return tuple(str(name) for name in names)


def rename_classes(classifier: Classifier, class_names: str | Sequence[str]) -> Classifier:
    """Returns the classifier with these class names: a file with one a line, a list, or `imagenet`."""
    if class_names == "imagenet":
        names = name_imagenet(0 if classifier.weight is None else len(classifier.weight))
        if names is None:
            raise InputError(f"head.class_names=imagenet: {describe_rows(classifier)}, unlike ImageNet's classifiers")
    else:
        names = read_names(class_names) if isinstance(class_names, str) else tuple(str(name) for name in class_names)
    if classifier.weight is None:
        return replace(classifier, names=names)
    if len(names) != len(classifier.weight):
        raise InputError(f"head.class_names has {len(names)} names and {describe_rows(classifier)}")
    return replace(classifier, names=names, reason="")


def describe_rows(classifier: Classifier) -> str:
    """Returns how many rows the classifier has, in words."""
    return "the source has no rows" if classifier.weight is None else f"the source {len(classifier.weight)} rows"


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
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"head.class_names={path} cannot be read ({error}); give a text file with one name a line, a list, "
            "or imagenet"
        ) from error
    return tuple(line.strip() for line in lines if line.strip())


def find_weights_file(folder: Path) -> Path:
    """Returns the file of a folder that holds the tensors."""
    for file in WEIGHTS_FILES:
        if (folder / file).is_file():
            return folder / file
    raise InputError(f"{folder} has no weights: it needs {' or '.join(WEIGHTS_FILES)}, in one piece")


def read_state(path: Path) -> dict[str, Tensor]:
    """Returns the state dict of a .safetensors or pickled file under clean keys (no `module.`, no `_orig_mod.`).

    Of a training checkpoint it is, as in timm, `state_dict_ema`, `model_ema`, `state_dict` or `model`.
    """
    try:
        state = load_state_dict(str(path))
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as weights: {describe_damage(error)}") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(list(state)[:5]) or "nothing"
        raise InputError(f"{path} holds no state dict, alone or under state_dict_ema, state_dict or model, but {found}")
    return state


def describe_damage(error: Exception) -> str:
    """Returns in one line why a file could not be read; timm reports code in a pickle as the cause of its error."""
    code = re.search(r"GLOBAL (\S+)", str(error.__cause__))
    if code:
        return (
            f"it holds more than tensors and loading it would run code ({code[1]}). Where it was made, write the "
            "tensors alone: torch.save(model.state_dict(), path)"
        )
    if isinstance(error, AttributeError):  # of a file with something else than a dict
        return "it holds no dict of tensors"
    return "it is damaged or cut short" if error.__cause__ else first_line(error)


def read_json_file(path: Path) -> dict:
    """Returns the object in a JSON file."""
    try:
        return read_json(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def read_json(text: str, path: Path) -> dict | list:
    """Returns the value in JSON text from a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} holds broken JSON: {error}") from error


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its kind if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
