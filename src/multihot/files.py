"""Files and folders: written in full or not at all, even if the power fails; read with words for what is wrong."""

import codecs
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from multihot.errors import InputError

LITTLE_SPACE = 1 << 26  # bytes; an error of writing with less free is told as a full disk
WRITING = ("PytorchStreamWriter", "unexpected pos", "file write failed")  # how torch says that it could not write


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name and moves it into place, so that it is there in full or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    sync(temporary)
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, has reached the disk."""
    for part in (*path.rglob("*"), path):
        number = os.open(part, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_json(path: Path, value: object) -> None:
    """Writes JSON as `write_text` does; NaN becomes null, which every reader of JSON understands."""
    write_text(path, json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict | list:
    """Returns what a JSON file of a run folder holds; raises InputError if it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """Returns what to tell of a file of a run folder that cannot be read."""
    why = " ".join(str(error).split())
    return InputError(f"{path} is damaged ({why}): bring it back from a copy, or give the run a new name")


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
    """Returns an empty folder beside `folder`, to be filled and then given to `publish_folder`.

    Raises:
        InputError: the folder that both are in is gone.
    """
    new = folder.with_name(f".{folder.name}.new")
    remove_folder(new)
    try:
        new.mkdir()
    except FileNotFoundError as error:
        raise InputError(f"{folder.parent} is gone: it was moved or deleted while this was at work in it") from error
    return new


def publish_folder(folder: Path) -> None:
    """Moves the staged folder into place; the one before stays whole until the new one is complete."""
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    sync(new)
    if folder.exists():
        remove_folder(old)
        os.replace(folder, old)
    os.replace(new, folder)
    remove_folder(old)


def recover_folder(folder: Path) -> None:
    """Puts the folder before back where a kill between the two moves of `publish_folder` left none."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)


def remove_folder(folder: Path) -> None:
    """Deletes a folder if it is there; of a link to a folder, the link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explaining_full_disk(folder: Path, way_out: str) -> Iterator[None]:
    """Turns an error of writing into one that says whether the disk is full, and what to do then."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in WRITING):
            raise
        free = shutil.disk_usage(folder).free
        why = f"{free / 1e6:.0f} MB free on its disk" if free < LITTLE_SPACE else str(error).splitlines()[0]
        raise InputError(f"{folder} could not be written ({why}). {way_out}") from error


def file_stamp(path: str | Path | int) -> tuple[int, int]:
    """Returns what changes when a file (or an open one, by its number) does: its size in bytes and its time in ns."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def check_disk_space(folder: str | Path, num_bytes: float, what: str, way_out: str) -> None:
    """Raises InputError if a folder cannot hold so much: a mapped file that finds no space kills the process.

    Args:
        what: what the bytes are for, with its verb: "the features take".
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise InputError(f"{what} {num_bytes / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: {way_out}")


@contextmanager
def reading(file: str, way_out: str = "correct its path in data or restore it") -> Iterator[None]:
    """Turns what the reading of a text file raises into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; {way_out}") from error
    except UnicodeDecodeError as error:
        if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{file} is UTF-16; save it as UTF-8") from error
        raise InputError(f"{file} is not UTF-8; save it as UTF-8") from error
