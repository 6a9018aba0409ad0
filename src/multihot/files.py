"""Files that are there in full or not at all, whenever the process ends."""

import json
import math
import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name and moves it into place, so that it is there in full or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """Writes JSON as `write_text` does; NaN becomes null, which every reader of JSON understands."""
    write_text(path, json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n")


def without_nan(value: object) -> object:
    """Returns the value with None for each NaN in it.

    >>> without_nan([{"map": float("nan"), "epoch": 1}])
    [{'map': None, 'epoch': 1}]
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
