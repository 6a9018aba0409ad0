"""A folder that is sealed last: seal.json names its files with size and checksum, so that every damage is noticed."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

SEAL = "seal.json"


def seal(folder: Path, content: Mapping) -> None:
    """Writes seal.json, with size and checksum of each file, after everything has reached the disk."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): [path.stat().st_size, checksum(path)] for path in paths}
    (folder / SEAL).write_text(json.dumps({**content, "files": files}, indent=2) + "\n")
    for path in (*folder.rglob("*"), folder):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read_seal(folder: Path) -> dict | None:
    """Returns what `seal` wrote; None if it is not there or unreadable."""
    try:
        return json.loads((folder / SEAL).read_text())
    except (OSError, ValueError):
        return None


def find_fault(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint, None if nothing is."""
    content = read_seal(folder)
    if content is None:
        return f"{SEAL} cannot be read"
    for name, (size, number) in content["files"].items():
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        if path.stat().st_size != size or checksum(path) != number:
            return f"{name} has changed"
    return None


def checksum(path: Path) -> int:
    """Returns the CRC-32 of a file."""
    number = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            number = zlib.crc32(piece, number)
    return number
