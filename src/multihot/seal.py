"""A folder that is sealed last: seal.json names its files with size and checksum, so that every damage is noticed."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from multihot import json_shapes
from multihot.errors import InputError
from multihot.files import read_json, sync, write_text

SEAL = "seal.json"


def seal(folder: Path, content: Mapping, name: str = SEAL) -> None:
    """Writes seal.json, or one of another name, with size and checksum of each file, and waits until everything has
    reached the disk.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): [path.stat().st_size, checksum(path)] for path in paths}
    write_text(folder / name, json.dumps({**content, "files": files}, indent=2) + "\n")
    sync(folder)


def read_seal(folder: Path, name: str = SEAL) -> dict | None:
    """Returns what `seal` wrote; None if it is not there or unreadable."""
    try:
        return read_json(folder / name, json_shapes.SEAL)
    except InputError:
        return None


def find_fault(folder: Path, name: str = SEAL) -> str | None:
    """Returns what is wrong with a sealed folder, None if nothing is."""
    content = read_seal(folder, name)
    if content is None:
        return f"{name} cannot be read"
    for part, stamp in content["files"].items():
        path = folder / part
        if not path.exists():
            return f"{part} is missing"
        try:
            if [path.stat().st_size, checksum(path)] != stamp:
                return f"{part} has changed"
        except OSError as error:  # a bad sector
            return f"{part}: {error.strerror}"
    return None


def check_model(folder: Path) -> None:
    """Raises InputError if a `best/` folder is not as it was written."""
    fault = find_fault(folder) if (folder / SEAL).exists() or not folder.exists() else None  # older runs have no seal
    if fault is not None:
        raise InputError(
            f"the best model {folder} is damaged ({fault}): bring it back from a copy, or train under a new name"
        )


def checksum(path: Path) -> int:
    """Returns the CRC-32 of a file."""
    number = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            number = zlib.crc32(piece, number)
    return number
