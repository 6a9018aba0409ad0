"""What `_target_` may name: settings may come from a run folder of somebody else, and do not call what they like."""

import importlib
from collections.abc import Iterator, Mapping
from inspect import isclass, isfunction

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from multihot.errors import InputError

KNOWN = {
    "data": "multihot.data.readers.",
    "head.layer": "multihot.model.heads.",
    "start": "multihot.model.start.",
    "loss.function": ("multihot.loss.", "timm.loss.", "torch.nn."),
    "optimizer.factory": ("torch.optim.", "timm.optim."),
    "schedule.factory": "timm.scheduler.",
    "augment": "timm.data.",
    "finetune": "multihot.model.finetune.",
    "decisions.aim": "multihot.decisions.aims.",
}  # setting -> where the classes are defined that its `_target_` may name
FUNCTIONS = ("multihot.data.readers.digits.create_digits", "timm.data.transforms_factory.create_transform")


def create(part: str, settings: Mapping | None, **options: object) -> object:
    """Returns what `hydra.utils.instantiate` builds from the settings of a part ("loss"), after `check_targets`."""
    check_targets(settings, part)
    return instantiate(settings, **options)


def check_targets(settings: object, part: str = "", *, is_called: bool = True) -> None:
    """Raises InputError if settings would call anything but what their place is for; nothing is called here.

    Args:
        part: which settings these are, with a dot between the names; "" for all.
        is_called: False where `create` is still to come: nothing is imported, a class is known by where it says it is.

    >>> check_targets({"loss": {"function": {"_target_": "torch.nn.BCEWithLogitsLoss"}}})
    >>> check_targets({"_target_": "os.mkdir"}, "data")
    Traceback (most recent call last):
    multihot.errors.InputError: data._target_=os.mkdir: this names a class of multihot.data.readers, and nothing else
    """
    for place, target in find_targets(settings, part):
        known = KNOWN.get(place)
        if known is None:
            raise InputError(f"{place}._target_={target}: only {', '.join(KNOWN)} have a _target_; take it out")
        if not (is_known(target, known) if is_called else str(target).startswith(known)):
            names = " or ".join(name.removesuffix(".") for name in ([known] if isinstance(known, str) else known))
            raise InputError(f"{place}._target_={target}: this names a class of {names}, and nothing else")


def find_targets(settings: object, place: str) -> Iterator[tuple[str, object]]:
    """Yields the place and the value of each `_target_`, wherever it is."""
    if isinstance(settings, DictConfig | ListConfig):
        settings = OmegaConf.to_container(settings, resolve=True)  # an interpolation could hide one
    if isinstance(settings, list | tuple):
        settings = dict(enumerate(settings))
    if not isinstance(settings, Mapping):
        return
    for key, value in settings.items():
        if key == "_target_":
            yield place, value
        yield from find_targets(value, f"{place}.{key}".lstrip("."))


def is_known(target: object, known: str | tuple[str, ...]) -> bool:
    """Returns whether a name is that of a class, or of one of FUNCTIONS, that is defined where `known` says."""
    if not isinstance(target, str) or not target.startswith(known):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    defined = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    return defined.startswith(known) and (isclass(found) or (isfunction(found) and defined in FUNCTIONS))
