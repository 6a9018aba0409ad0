"""What is ours: only that is ever replaced or deleted. A folder or file with anything else is refused by name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from multihot.errors import InputError, list_first

JUNK = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".nfs*")  # what systems leave in any folder
FIRST_BYTES = 1 << 16  # of a file, in which its mark stands


@dataclass(frozen=True)
class Kind:
    """What a folder holds that is written, and replaced, as a whole."""

    what: str  # as a user is told
    files: Mapping[str, bytes]  # pattern of a file's name -> how such a file begins
    proof: tuple[str, bytes] | None = None  # a file, and what stands in it, without which a folder is another's
    folders: tuple[str, ...] = ()  # patterns of the names of folders in it

    def holds(self, path: Path) -> bool:
        """Returns whether a file or folder is of those that this kind holds; an empty file is by its name."""
        if path.is_dir():
            return any(fnmatch(path.name, pattern) for pattern in self.folders)
        begins = [begin for pattern, begin in self.files.items() if fnmatch(path.name, pattern)]
        return bool(begins) and (not path.stat().st_size or read_start(path).lstrip().startswith(begins[0]))


EVALUATION = Kind(
    "the evaluation of a split",
    {
        "metrics.json": b"{",
        "labels.csv": b"label,",
        "calibration.csv": b"label,",
        "images.json": b"[",
        "predictions.json": b"{",
        "predictions.safetensors": b"",
        "report*.html": b"<!doctype html",
    },
    proof=("metrics.json", b'"num_images"'),
)
MODEL = Kind(
    "a model",
    {
        "config.json": b"{",
        "model.safetensors": b"",
        "pytorch_model.bin": b"",
        "seal.json": b"{",
        "decisions.json": b"{",
    },
    proof=("config.json", b'"architecture"'),
)
REPORT = Kind(
    "the report of a data set",
    {"report.json": b"{", "report.html": b"<!doctype html", "clusters.csv": b"image,cluster"},
    proof=("report.json", b'"findings"'),
)
LABEL_ERRORS = Kind(
    "suspected label errors",
    {
        "label_errors.json": b"{",
        "suspects.csv": b"image,label",
        "index.html": b"<!doctype html",
        "label_studio.json": b"[",
        "label_studio.xml": b"<View>",
        "out_of_fold.safetensors": b"",
        **{name: begin for name, begin in EVALUATION.files.items() if name not in ("metrics.json", "labels.csv")},
    },
    proof=("label_errors.json", b'"num_suspects"'),
)
# accelerate's names, of every layout
PARTS = (
    "model",
    "pytorch_model",
    "optimizer",
    "scheduler",
    "scaler",
    "sampler",
    "random_states",
    "custom_checkpoint",
    "dl_state_dict",
)
OF_DEEPSPEED = ("latest", "zero_to_fp32.py")
ENDINGS = ("safetensors", "bin", "json", "pkl", "pt")
CHECKPOINT = Kind(
    "a checkpoint",
    dict.fromkeys(["seal.json", *OF_DEEPSPEED, *(f"{part}*.{ending}" for part in PARTS for ending in ENDINGS)], b""),
    folders=("pytorch_model*", "optimizer_*"),
)


def find_foreign(folder: Path, kind: Kind) -> list[str]:
    """Returns the names of what is in a folder and not of its kind: all of them if its proof is missing."""
    inside = [path for path in sorted(folder.iterdir()) if not is_junk(path)]
    is_ours = is_proven(folder, kind)
    return [path.name for path in inside if not (is_ours and kind.holds(path))]


def is_proven(folder: Path, kind: Kind) -> bool:
    """Returns whether a folder has the proof that it is of a kind, if there is one: others use such names too."""
    if kind.proof is None:
        return True
    name, mark = kind.proof
    return (folder / name).is_file() and mark in read_start(folder / name)


def is_junk(path: Path) -> bool:
    """Returns whether a file is one that systems leave in any folder."""
    return any(fnmatch(path.name, pattern) for pattern in JUNK)


def check_replaceable(folder: Path, kind: Kind, way_out: str) -> None:
    """Raises InputError unless a folder is not there, is empty, or holds nothing but what is of this kind.

    Args:
        way_out: what to do, as "give out= another name".
    """
    check_no_link(folder, way_out)
    if folder.is_file():
        raise InputError(f"{folder} is a file, which is not replaced: {way_out}")
    if not folder.is_dir():
        return
    if os.path.ismount(folder):
        raise InputError(f"{folder} is where a disk is mounted, which cannot be replaced: give a folder in it")
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise InputError(f"{folder} is where this was started, or around it, and is not replaced: {way_out}")
    foreign = find_foreign(folder, kind)
    if foreign:
        raise InputError(
            f"{folder} would be replaced, and holds more than {kind.what}: {way_out}, or move away what is there:\n"
            f"{list_first(foreign)}"
        )


def check_own_file(file: Path, mark: bytes, way_out: str) -> None:
    """Raises InputError unless a file may be written: it is not there, or its first bytes hold the mark that ours have.

    Args:
        way_out: what to do, as "give --csv another name".
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder: {way_out}")
    check_no_link(file, way_out)
    if file.exists() and not (file.is_file() and mark in read_start(file)):
        raise InputError(f"{file} is there and is none that this has written: {way_out}, or move it away")


def check_no_link(path: Path, way_out: str) -> None:
    """Raises InputError if a path is a link."""
    if path.is_symlink():
        raise InputError(f"{path} is a link to {os.readlink(path)}, which is not replaced: {way_out}")


def read_start(file: Path) -> bytes:
    """Returns the first bytes of a file."""
    try:
        with file.open("rb") as content:
            return content.read(FIRST_BYTES)
    except OSError as error:
        raise InputError(f"cannot read {file}, which would be replaced: {error.strerror}") from error


def check_not_read(file: Path, inputs: Mapping[str, object], way_out: str) -> None:
    """Raises InputError if a file that is to be written is one that is read.

    Args:
        inputs: setting -> path, or anything else.
    """
    for setting, value in inputs.items():
        for path in [value] if isinstance(value, str) else value if isinstance(value, Sequence) else []:
            if isinstance(path, str) and file.exists() and os.path.exists(path) and os.path.samefile(file, path):
                raise InputError(f"{file} is read ({setting}={path}) and is not replaced: {way_out}")


def check_name(name: str, most: int = 150) -> None:
    """Raises InputError unless a run's name is that of one folder, and not of our own (.cache, .sweep).

    Args:
        most: bytes; a sweep adds up to 90.

    >>> check_name("photos-2")
    """
    faults = {
        "is empty: give one, or leave it out": not name.strip(),
        "begins or ends with a blank": name != name.strip(),
        "must be the name of one folder, without slashes; runs_folder says where it is made": not {*"/\\"}.isdisjoint(
            name
        ),
        "begins with a dot, as our own folders do: give another": name.startswith("."),
        "has characters that cannot be printed: give another": not name.isprintable(),
        f"is longer than {most} bytes: give a shorter one": len(os.fsencode(name)) > most,
    }
    for fault, is_so in faults.items():
        if is_so:
            raise InputError(f"name{f'={name!r}' if name.strip() else ''} {fault}")


def find_run_around(path: Path) -> Path | None:
    """Returns the run folder that a path is or is in; None if there is none."""
    path = Path(os.path.realpath(path))
    return next((folder for folder in (path, *path.parents) if is_run(folder)), None)


def is_run(folder: Path) -> bool:
    """Returns whether a folder is that of a run."""
    return (folder / "config.yaml").is_file() and (folder / "labels.json").is_file()
