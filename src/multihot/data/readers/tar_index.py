"""Where each file of a tar shard begins: one pass over its headers, kept on disk until the shard changes."""

import hashlib
import os
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from multihot.errors import InputError, list_first
from multihot.files import file_stamp

FORMAT = 1  # of the files that keep an index; another one is made anew
TEXT_ENDINGS = (".json", ".txt", ".cls")  # files that are kept whole, because they may hold labels
MAGIC = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\x00": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
BLOCK = 512  # bytes, of which a tar consists


@dataclass(frozen=True)
class ShardIndex:
    """The M files in a shard, in flat arrays because there may be millions."""

    stamp: np.ndarray  # int64 (2,): size in bytes and time of change in ns of the shard itself
    names: np.ndarray  # uint8: all names, as UTF-8, with a zero byte between them
    offsets: np.ndarray  # int64 (M,): where the content of each file begins
    sizes: np.ndarray  # int64 (M,)
    text: np.ndarray  # uint8: what is in the files of TEXT_ENDINGS, one after the other
    text_ends: np.ndarray  # int64 (M,): where a file's part of the text ends

    def members(self) -> Iterator[tuple[str, int, int, bytes]]:
        """Yields name, offset, size and text of each file."""
        names = self.names.tobytes().decode("utf-8", "surrogateescape").split("\0")
        text, start = self.text.tobytes(), 0
        rest = (self.offsets.tolist(), self.sizes.tolist(), self.text_ends.tolist())
        for name, offset, size, end in zip(names, *rest, strict=len(self.sizes) > 0):
            yield name, offset, size, text[start:end]
            start = end


def index_shards(shards: Sequence[str], folder: str | None, num_workers: int) -> list[ShardIndex]:
    """Returns the index of each shard: what `folder` keeps, else made anew and kept there.

    With several processes on a machine, each begins elsewhere and takes what another has kept in the meantime.

    Args:
        folder: None keeps nothing.
        num_workers: processes that read shards; 0 or 1: without processes of its own.
    """
    indexes = {shard: load_index(shard, folder) for shard in shards}
    missing = [shard for shard, index in indexes.items() if index is None]
    first = len(missing) * int(os.environ.get("RANK", 0)) // int(os.environ.get("WORLD_SIZE", 1))
    missing = missing[first:] + missing[:first]
    shown = os.environ.get("RANK", "0") == "0" and missing and sys.stderr.isatty()
    with tqdm(total=len(missing), desc="indexing shards", unit="shard", disable=not shown, leave=False) as bar:
        for shard, index in index_all(missing, folder, num_workers):
            indexes[shard] = index
            bar.update()
    errors = [str(index) for index in indexes.values() if isinstance(index, InputError)]
    if errors:
        raise InputError(f"{len(errors)} of {len(shards)} shards cannot be used:\n{list_first(errors)}")
    return [indexes[shard] for shard in shards]


def index_all(
    shards: Sequence[str], folder: str | None, num_workers: int
) -> Iterator[tuple[str, ShardIndex | InputError]]:
    """Yields each shard and its index as they are done."""
    index = partial(index_shard, folder=folder)
    if min(num_workers, len(shards)) <= 1:
        yield from zip(shards, map(index, shards), strict=True)
        return
    # A forked process may hang in a lock that one of torch's threads held.
    with ProcessPoolExecutor(min(num_workers, len(shards)), get_context("spawn")) as pool:
        tasks = {pool.submit(index, shard): shard for shard in shards}
        try:
            for task in as_completed(tasks):
                yield tasks[task], task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def index_shard(shard: str, folder: str | None) -> ShardIndex | InputError:
    """Returns the index of one shard, kept in the folder, or what is wrong with it."""
    index = load_index(shard, folder)
    if index is None:
        try:
            index = scan_shard(shard)
        except InputError as error:
            return error
        if folder is not None:
            save_index(index, keep_at(shard, folder))
    return index


def keep_at(shard: str, folder: str) -> Path:
    """Returns the file that keeps the index of a shard."""
    return Path(folder) / f"{Path(shard).stem}-{hashlib.sha256(os.fsencode(shard)).hexdigest()[:16]}.npz"


def load_index(shard: str, folder: str | None) -> ShardIndex | None:
    """Returns the index of a shard that is kept; None if there is none or the shard has changed since."""
    if folder is None:
        return None
    try:
        with np.load(keep_at(shard, folder)) as arrays:
            fresh = arrays["format"] == FORMAT and tuple(arrays["stamp"].tolist()) == file_stamp(shard)
            return ShardIndex(**{name: arrays[name] for name in arrays if name != "format"}) if fresh else None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):  # it can be made anew
        return None


def save_index(index: ShardIndex, path: Path) -> None:
    """Writes the index; whoever reads it meanwhile sees the old file or the new one."""
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            np.savez(file, format=FORMAT, **vars(index))
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        way_out = "choose another folder by data.index_path, or null to keep none"
        raise InputError(
            f"cannot keep the index of the shards in {path.parent}: {error.strerror}; {way_out}"
        ) from error


def scan_shard(shard: str) -> ShardIndex:
    """Returns the index of a shard, from one pass over its headers and its text files."""
    try:
        with open(shard, "rb") as file:
            stamp = file_stamp(file.fileno())
            check_begin(shard, file)
            members, end = scan_members(file)
            check_end(shard, file, end)
    except OSError as error:
        raise InputError(f"cannot read the shard {shard}: {error.strerror}; restore it") from error
    except tarfile.TarError as error:
        raise InputError(f"{shard} is damaged or cut short: {error}; write or download it again") from error
    names, offsets, sizes, texts = zip(*members, strict=True) if members else ((), (), (), ())
    return ShardIndex(
        stamp=np.array(stamp, np.int64),
        names=np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), np.uint8),
        offsets=np.array(offsets, np.int64),
        sizes=np.array(sizes, np.int64),
        text=np.frombuffer(b"".join(texts), np.uint8),
        text_ends=np.cumsum([len(text) for text in texts], dtype=np.int64),
    )


def scan_members(file: BinaryIO) -> tuple[list[tuple[str, int, int, bytes]], int]:
    """Returns name, offset, size and text of each file in a tar, and where the last one ends."""
    members = []
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if member.isreg():
                is_text = member.name.lower().endswith(TEXT_ENDINGS)
                text = tar.extractfile(member).read() if is_text else b""
                members.append((member.name, member.offset_data, member.size, text))
        return members, tar.offset


def check_begin(shard: str, file: BinaryIO) -> None:
    """Raises InputError if a file is compressed."""
    start = file.read(BLOCK)
    file.seek(0)
    program = next((program for magic, program in MAGIC.items() if start.startswith(magic)), None)
    if program and b"ustar" not in start:
        raise InputError(
            f"{shard} is compressed, so that no image in it can be read without all before it: unpack it to .tar first "
            f"({program}), which costs little space because images are compressed themselves"
        )


def check_end(shard: str, file: BinaryIO, end: int) -> None:
    """Raises InputError unless nothing but the zeros of a complete tar follows its last file.

    Python's tarfile takes the end of the file, or a broken header, for the end of the tar.
    """
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        raise InputError(f"{shard} is damaged or cut short at byte {end}; write or download it again")
    while rest := file.read(1 << 20):
        if rest.strip(b"\0"):
            raise InputError(f"{shard} goes on behind its end mark at byte {end}, as joined tars do; give each alone")
