"""Files and folders: written in full or not at all, even if the power fails; read with words for what is wrong."""

import codecs
import errno
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from multihot.errors import InputError
from multihot.json_shapes import find_misfit
from multihot.ownership import Kind, check_own_file, check_replaceable

if TYPE_CHECKING:
    from torch import Tensor

IRREGULAR = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # what may stand where a file is meant
LITTLE_SPACE = 1 << 26  # bytes; an error of writing with less free is told as a full disk
FULL = (None, errno.ENOSPC)  # safetensors, torch and numpy give no number
WRITING = ("PytorchStreamWriter", "unexpected pos", "file write failed")  # how torch says that it could not write


def is_address(path: str) -> bool:
    """Returns whether a path is the address of something that is not on the disk, or that comes with this package.

    >>> is_address("https://example.org/vit.pth"), is_address("shipped:vit_digits"), is_address("runs/a")
    (True, True, False)
    """
    return re.match(r"\w[\w+.-]+:", path) is not None


def absolute(path: str) -> str:
    """Returns the absolute path, `~` resolved."""
    return os.path.abspath(os.path.expanduser(path))


def write_text(path: Path, text: str, errors: str = "surrogateescape") -> None:
    """Writes a file under a temporary name and moves it into place, so that it is there in full or not at all.

    Args:
        errors: what becomes of a file's name that is not UTF-8, by default its own bytes.
    """
    temporary = temporary_name(path)
    temporary.write_text(text, encoding="utf-8", errors=errors)
    sync(temporary)
    os.replace(temporary, path)


def temporary_name(path: Path) -> Path:
    """Returns the name under which a file is written before it is moved into place."""
    return path.with_name(f".{path.name}.tmp")


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors do, with the permissions that any new file has."""
    from safetensors.torch import save_file  # imports torch

    save_file(tensors, path, metadata=metadata)
    follow_umask(path)


def follow_umask(path: Path) -> None:
    """Gives a file, or all files in a folder, at least the permissions of a new one: safetensors 0.8 writes 0600."""
    folder = path if path.is_dir() else path.parent
    with tempfile.TemporaryDirectory(dir=folder) as own:
        probe = Path(own) / "probe"
        probe.touch()
        mode = probe.stat().st_mode
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and file.stat().st_mode | mode != file.stat().st_mode:
            file.chmod(file.stat().st_mode | mode)


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
    text = json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n"
    write_text(path, text, errors="backslashreplace")  # of names that are not UTF-8: the escapes that JSON knows


def read_json(path: Path, shape: object) -> dict | list:
    """Returns what a JSON file of a run folder holds; raises InputError if it cannot be read or has another shape.

    Args:
        shape: of multihot.json_shapes.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    fault = find_misfit(value, shape)
    if fault is not None:
        raise damaged(path, fault)
    return value


def damaged(path: Path, error: Exception | str) -> InputError:
    """Returns what to tell of a file of a run folder that cannot be read, or that is not what it should be."""
    why = " ".join(str(error).split())
    return InputError(f"{path} is damaged ({why}): bring it back from a copy, or give the run a new name")


def without_nan(value: object) -> object:
    """Returns the value with None for each NaN in it.

    >>> without_nan([{"map": float("nan"), "epoch": 1}, (float("nan"), 1.0)])
    [{'map': None, 'epoch': 1}, [None, 1.0]]
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def prepare_folder(folder: Path, kind: Kind, way_out: str) -> None:
    """Makes sure, before any work is done, that a folder can be written and that what is there may be replaced.

    Raises:
        InputError: it cannot, or may not: it holds what is not of this kind.
    """
    with writing(folder, way_out):
        check_replaceable(folder, kind, way_out)
        recover_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_folder(stage_folder(folder))


def prepare_file(file: Path, mark: bytes, way_out: str) -> None:
    """Makes sure, before any work is done, that a file can be written, and that one that is there is ours.

    Args:
        mark: what the first bytes of such a file hold.
    """
    with writing(file, way_out):
        check_own_file(file, mark, way_out)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary_name(file).touch()
        temporary_name(file).unlink()


def staged_name(folder: Path) -> Path:
    """Returns where a folder is filled before it is moved into place."""
    return folder.with_name(f".{folder.name}.new")


def stage_folder(folder: Path) -> Path:
    """Returns an empty folder beside `folder`, to be filled and then given to `publish_folder`.

    Raises:
        InputError: the folder that both are in is gone.
    """
    new = staged_name(folder)
    remove_folder(new)
    try:
        new.mkdir()
    except FileNotFoundError as error:
        raise InputError(f"{folder.parent} is gone: it was moved or deleted while this was at work in it") from error
    return new


def publish_folder(folder: Path, kind: Kind) -> None:
    """Moves the staged folder into place; the one before stays whole until the new one is complete.

    Args:
        kind: what may be deleted with the one before, besides files of the names that the new one has; all else in it
            came while this was at work, and is kept.
    """
    new = staged_name(folder)
    follow_umask(new)
    sync(new)
    old = set_aside(folder, kind)
    os.replace(new, folder)
    retire(old, folder, kind)


def set_aside(folder: Path, kind: Kind) -> Path:
    """Moves a folder, if it is there, to a name beside it from where `recover_folder` brings it back; returns that."""
    old = folder.with_name(f".{folder.name}.old")
    if os.path.lexists(folder):
        retire(old, folder, kind)  # a kill has left it
        os.replace(folder, old)
    return old


def retire(old: Path, folder: Path, kind: Kind) -> None:
    """Deletes a folder whose place another has taken; what is in it that is not ours goes into that one."""
    if old.is_dir() and not old.is_symlink():
        for path in list(old.iterdir()):
            if not (folder / path.name).exists() and not kind.holds(path):
                os.replace(path, folder / path.name)
    remove_folder(old)


def recover_folder(folder: Path) -> None:
    """Puts the folder before back where a kill between the two moves of `publish_folder` left none."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)


def link_or_copy(file: Path, new: Path) -> None:
    """Gives a file a second name, without a copy where the disk is the same and its system can."""
    try:
        os.link(file, new)
    except OSError:
        shutil.copy2(file, new)


def remove_folder(folder: Path) -> None:
    """Deletes a folder if it is there; of a link to a folder, the link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path: str | Path, way_out: str) -> Iterator[None]:
    """Turns an error of writing into an InputError that names the path, the cause and the way out."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in WRITING):
            raise
        why, way_out = why_not_written(Path(path), error), way_out[:1].upper() + way_out[1:]
        raise InputError(f"{path} could not be written ({why}). {way_out}") from error


@contextmanager
def removing_on_error(path: Path) -> Iterator[None]:
    """Deletes a file that could not be completed, so that it does not fill the disk."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def why_not_written(path: Path, error: Exception) -> str:
    """Returns the cause of an error of writing in a few words: how little space is left, if that may be it."""
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    free = shutil.disk_usage(there).free
    if getattr(error, "errno", None) in FULL and free < LITTLE_SPACE:
        return f"{free / 1e6:.0f} MB free on its disk"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder belongs"
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


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


def take_space(file: Path) -> None:
    """Takes the space of a file that was made longer without writing it, where the system can: a full disk is an error
    now, not the end of the process when the mapped file is written.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, os.path.getsize(file))


def name_irregular(path: str) -> str | None:
    """Returns what is at a path that is no file: opening it may wait for ever; raises OSError if nothing is there."""
    mode = os.stat(path).st_mode
    return None if stat.S_ISREG(mode) else next((name for test, name in IRREGULAR if test(mode)), "no file")


@contextmanager
def reading(file: str, way_out: str = "correct its path in data or restore it") -> Iterator[None]:
    """Turns what the reading of a text file raises into an InputError that names it; what is no file is not opened."""
    try:
        what = name_irregular(file)
        if what is not None and not os.path.isdir(file):  # opening a folder is an error of its own
            raise InputError(f"{file} is {what} and no file; {way_out}")
        yield
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; {way_out}") from error
    except UnicodeDecodeError as error:
        if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{file} is UTF-16; save it as UTF-8") from error
        raise InputError(f"{file} is not UTF-8; save it as UTF-8") from error
