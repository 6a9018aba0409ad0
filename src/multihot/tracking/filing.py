"""What a tracker files a run under: its group, its tags and its settings."""

import hashlib
from datetime import datetime
from functools import cache

GROUP_LENGTH, TAG_LENGTH = 128, 64  # characters that W&B allows
NOT_TOLD = (
    "seed=", "name=", "resume=", "tracker", "runs_folder=", "num_workers=", "log_every=", "checkpoint.", "decisions",
    "report=",
)  # fmt: skip
NO_TAGS = ("tracker", "decisions")


def flat_values(config: dict) -> dict:
    """Returns the config with only what every tracker can store: numbers, words and truth values.

    >>> flat_values({"model": {"name": "vit", "kwargs": {}}, "seed": 0, "scale": [0.5, 1.0]})
    {'model.name': 'vit', 'model.kwargs': '{}', 'seed': 0, 'scale': '[0.5, 1.0]'}
    """
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{inner}": item for inner, item in flat_values(value).items()}
        else:
            flat[key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat


@cache
def sweep_name() -> str:
    """Returns one name for all jobs that this process runs."""
    return datetime.now().strftime("sweep-%Y%m%d-%H%M%S")


def group_name(name: str | None, overrides: list[str], is_sweep: bool) -> str:
    """Returns the W&B group: the sweep, or the overrides without those that only repeat a run.

    >>> group_name(None, ["loss=asymmetric", "seed=3", "name=x"], is_sweep=False)
    'loss=asymmetric'
    >>> group_name(None, ["decisions=recall", "decisions.per_label=true", "report=false"], is_sweep=False)
    'default'
    >>> group_name("losses", ["loss=asymmetric"], is_sweep=True)
    'losses'
    """
    if is_sweep:
        return name or sweep_name()
    told = [override for override in overrides if not override.startswith(NOT_TOLD)]
    group = " ".join(told) or "default"
    if len(group) <= GROUP_LENGTH:
        return group
    return f"{group[: GROUP_LENGTH - 9]} {hashlib.sha256(group.encode()).hexdigest()[:8]}"


def tags_of(overrides: list[str], config: dict) -> list[str]:
    """Returns the groups that were chosen on the command line, as tags.

    >>> tags_of(["loss=asymmetric", "seed=3", "loss.weight=null", "experiment=photos"], {"loss": {}, "seed": 3})
    ['loss=asymmetric', 'experiment=photos']
    """
    chosen = [(override.lstrip("+"), override.lstrip("+").partition("=")[0]) for override in overrides]
    return [
        override[:TAG_LENGTH]
        for override, key in chosen
        if key in ("experiment", "debug") or (key not in NO_TAGS and isinstance(config.get(key), dict))
    ]
