"""Files and folders that are there in full or not at all, whenever the process ends."""

import json
import math
import os
import shutil
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


def stage_folder(folder: Path) -> Path:
    """Returns an empty folder beside `folder`, to be filled and then given to `publish_folder`."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def publish_folder(folder: Path) -> None:
    """Moves the staged folder into place; the one before stays whole until the new one is complete."""
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Puts the folder before back where a kill between the two moves of `publish_folder` left none."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)
