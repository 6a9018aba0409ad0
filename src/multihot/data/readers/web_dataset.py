"""Reads tar shards in the WebDataset format (github.com/webdataset/webdataset) without unpacking them."""

import glob
import os
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from PIL import Image

from multihot.data.formats.strict_json import UNREADABLE, load
from multihot.data.images import decode_image
from multihot.data.loader import default_num_workers
from multihot.data.readers.tar_index import ShardIndex, index_shards
from multihot.data.table.answers import Answers, parse_weight
from multihot.data.table.cells import BLANK, CellError
from multihot.data.table.label_cells import Said, check_not_null
from multihot.data.table.reader import SPLIT_BY_PATHS, TableReader, warn_of_several_splits
from multihot.data.table.table import Table
from multihot.data.value_range import ValueRange
from multihot.errors import InputError, ShardError, check_choice, list_first, name_first
from multihot.files import file_stamp

FORMATS = ("json", "txt", "cls")  # of labels: the last ending of the file that holds them
REMOTE = re.compile(
    r"(?:^|/)(pipe:|[a-z][a-z0-9+.]+:/)"
)  # also after a folder, which settings ending in path start with
CHOICE = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
LOCATOR = re.compile(r"(.+?)#(\d+)\+(\d+)#.*", re.DOTALL)
MAX_OPEN = 16  # shards, of each process

Member = tuple[str, int, int, bytes]  # name, offset, size and, of texts, what is in it


@dataclass(kw_only=True)
class WebDatasetReader(TableReader):
    """Reads shards of a split each; the files in a shard that share their name up to its first dot are one sample.

    Args:
        path: train shards: a folder, a pattern with * or braces (`train-{000..099}.tar`), or one shard.
        image_extensions: endings (all after the first dot, in small letters) by which a sample's image is known.
        labels_extension: ending of the file with the labels, its last part json, txt or cls; None: whichever of these
            three the sample has.
        labels_key: where the labels are in a JSON object: a list, text with separators, or {label: answer}; None: the
            file is nothing but the labels.
        separator: stands between the labels of a text.
        unlisted: what is true of a label that a sample does not name.
        weight_key: in the JSON object: how much each image counts in the loss; None: all the same.
        cluster_key: in the JSON object: what must not be divided between train and val.
        answers: what stands in {label: answer}, if it is not 1, 0, ...: see Answers.
        index_path: folder that keeps where each file of a shard begins; None keeps nothing.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    image_extensions: Sequence[str]
    labels_extension: str | None
    labels_key: str | None
    separator: str
    unlisted: str
    weight_key: str | None
    cluster_key: str | None
    index_path: str | None
    answers: Mapping[object, str | float] | None = None  # runs that began before there was this setting do not have it

    way_to_split = SPLIT_BY_PATHS

    def fill(self, table: Table) -> None:
        """Adds the samples of all shards to the table."""
        self.check_settings()
        shards = self.find_all_shards()
        index_path = None if self.index_path is None else os.path.abspath(self.index_path)
        indexes = index_shards(list(shards), index_path, default_num_workers())
        table.unlisted = int(BLANK[self.unlisted])
        table.read = ShardImages(
            {shard: tuple(index.stamp.tolist()) for shard, index in zip(shards, indexes, strict=True)}
        )
        says = Answers(self.answers)
        for number, ((shard, split), index) in enumerate(zip(shards.items(), indexes, strict=True)):
            table.begin(shard, unit="sample", embedded=True)
            Shard(self, table, shard, number, split, says).add_samples(index)
        says.warn_of_unused(name_first(table.files))

    def check_settings(self) -> None:
        """Raises InputError if a setting has none of its values."""
        if self.root is not None:
            raise InputError("data.root is the folder of image files; shards hold their images, so set it to null")
        if self.labels_extension is not None:
            check_choice("the last part of data.labels_extension", self.labels_extension.rpartition(".")[2], FORMATS)

    def find_all_shards(self) -> dict[str, str]:
        """Returns the split of each shard."""
        split_of, file_of = {}, {}
        for split, path in self.paths().items():
            shards = find_shards(path)
            warn_of_several_splits(path, shards)
            for shard in shards:
                same = file_of.setdefault(os.path.realpath(shard), shard)
                if same in split_of:
                    twice = f"{shard} is a {split} shard, and already, as {same}, a {split_of[same]} shard"
                    raise InputError(f"{twice}: images that are in two splits make scores too good; name each once")
                split_of[shard] = split
        return split_of

    def read_labels(self, extension: str, text: bytes) -> tuple[list[str], list | None, Mapping]:
        """Returns the labels in a file, the cells of its answers (None: all are present), and its JSON object."""
        text = text.decode("utf-8-sig")
        if extension.endswith("cls"):
            return [self.name_class(index) for index in text.split()], None, {}
        if extension.endswith("txt"):
            return *self.read_answers(text), {}
        try:
            content = load(text)
        except UNREADABLE as error:
            raise ValueError(str(error)) from error
        if self.labels_key is None:
            return *self.read_answers(content), {}
        if not isinstance(content, dict) or self.labels_key not in content:
            keys = f"only {', '.join(content)}" if isinstance(content, dict) else "no object"
            raise ValueError(f"there is no {self.labels_key!r} but {keys} (data.labels_key)")
        return *self.read_answers(content[self.labels_key]), content

    def read_answers(self, content: object) -> Said:
        """Returns the labels and the cells of answers in a text or in JSON; null in a list is no label."""
        check_not_null(content, is_none=self.unlisted == "unknown")
        return self.cells.read(content)

    def name_class(self, index: str) -> str:
        """Returns the label that a class index means."""
        if self.labels is None:
            raise ValueError("it holds class indices: data.labels must list the labels in that order")
        if not index.isdecimal() or int(index) >= len(self.labels):
            raise ValueError(f"{index!r} is no class index from 0 to {len(self.labels) - 1}")
        return str(self.labels[int(index)])


@dataclass
class Shard:
    """One shard, whose samples become rows of the table."""

    reader: WebDatasetReader
    table: Table
    path: str
    number: int  # among all shards
    split: str
    says: Answers

    def add_samples(self, index: ShardIndex) -> None:
        """Adds a row for each sample, or notes what is wrong with it."""
        found = set()
        for number, (key, members) in enumerate(group_members(index), start=1):
            repeated = find_repeated_extension(members)
            if repeated is not None:
                self.table.note("samples with two files of one name", number, f"{key}.{repeated}")
            elif key in found:
                twice = "samples that come twice, or whose files do not follow each other (write the shard again)"
                self.table.note(twice, number, key)
            else:
                self.add_sample(number, key, dict(members))
            found.add(key)
        if not found:
            self.table.problems["shards without a sample"].append(self.path)

    def add_sample(self, number: int, key: str, members: dict[str, Member]) -> None:
        """Adds the row of one sample, whose files are given by their ending."""
        reader = self.reader
        image = self.choose("an image", "image_extensions", reader.image_extensions, number, key, members)
        endings = FORMATS if reader.labels_extension is None else (reader.labels_extension,)
        answers = self.choose("labels", "labels_extension", endings, number, key, members)
        if image is None or answers is None:
            return
        try:
            labels, cells, content = reader.read_labels(answers, members[answers][3])
        except CellError as error:
            self.table.note(error.problem, number, f"{members[answers][0]}: {error.details}")
            return
        except ValueError as error:
            self.table.note("samples whose labels cannot be read", number, f"{members[answers][0]}: {error}")
            return
        weight, cluster = content.get(reader.weight_key), content.get(reader.cluster_key)
        if reader.weight_key is not None and (weight := parse_weight(weight)) is None:
            self.table.note("samples whose data.weight_key is no number from 0 up", number, key)
        elif reader.cluster_key is not None and cluster is None:
            self.table.note("samples without data.cluster_key", number, key)
        else:
            name, offset, size, _ = members[image]
            values = None if cells is None else self.table.read_answers(self.says, number, labels, cells)
            cluster = None if cluster is None else str(cluster)
            image = f"{self.path}#{offset}+{size}#{name}"
            more = {"split": self.split, "weight": weight, "cluster": cluster, "shard": self.number}
            self.table.add(number, image, labels, values, **more)

    def choose(
        self, what: str, setting: str, endings: Sequence[str], number: int, key: str, members: Mapping[str, Member]
    ) -> str | None:
        """Returns the one ending of a sample that is among those given, or notes that it is not one."""
        chosen = [ending for ending in members if ending in endings]
        if len(chosen) == 1:
            return chosen[0]
        problem = f"samples with several files for {what}" if chosen else f"samples without {what}"
        wanted = f"{problem} (data.{setting}; a sample ends at the first dot of its name)"
        self.table.note(wanted, number, f"{key} has {', '.join(members)}")
        return None


def group_members(index: ShardIndex) -> Iterator[tuple[str, list[tuple[str, Member]]]]:
    """Yields the key of each sample and its files, with their endings in small letters.

    What has no dot, begins with one, or lies under `__like_this__`, belongs to no sample.
    """
    current, members = None, []
    for member in index.members():
        key, ending = split_name(member[0])
        if key is None:
            continue
        if key != current:
            if members:
                yield current, members
            current, members = key, []
        members.append((ending, member))
    if members:
        yield current, members


def split_name(name: str) -> tuple[str, str] | tuple[None, None]:
    """Returns the key and the ending of a file, divided at the first dot of its name; None if it belongs to no sample.

    >>> split_name("a.b/c.d.JPG"), split_name("README"), split_name("x/._c.jpg"), split_name("__info__/a.json")
    (('a.b/c', 'd.jpg'), (None, None), (None, None), (None, None))
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    if not stem or not dot or re.match(r"__[^/]*__(/|$)", name):
        return None, None
    return f"{folder}{slash}{stem}", ending.lower()


def find_repeated_extension(members: Sequence[tuple[str, Member]]) -> str | None:
    """Returns an ending that two files of a sample have; None if there is none."""
    endings = [ending for ending, _ in members]
    return next((ending for ending in endings if endings.count(ending) > 1), None)


def find_shards(path: str) -> list[str]:
    """Returns the absolute paths of the shards that a folder, a pattern or a name means, in their order."""
    if REMOTE.search(path):
        raise InputError(f"{path} is not on this machine: download the shards first, and give their folder or pattern")
    shards, missing = [], []
    for pattern in expand_braces(os.path.abspath(path)):
        found = match_files(pattern)
        shards += found
        missing += [] if found else [pattern]
    if missing:
        hint = "a folder must hold files *.tar; braces are {000..099} or {a,b}"
        raise InputError(f"{path} means shards that do not exist ({hint}):\n{list_first(missing)}")
    return shards


def match_files(pattern: str) -> list[str]:
    """Returns the files of a pattern without braces, sorted."""
    if os.path.isdir(pattern):
        inside = os.path.join(glob.escape(pattern), "*.tar")
        return sorted(glob.glob(inside)) or sorted(glob.glob(f"{inside}.*"))  # compressed: an error that says so
    return [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))


def expand_braces(pattern: str) -> list[str]:
    """Returns the patterns that one with braces stands for.

    >>> expand_braces("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    braces = CHOICE.search(pattern)
    if braces is None:
        return [pattern]
    first, last, choices = braces.groups()
    if choices is None:
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        choices = [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    else:
        choices = choices.split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [f"{before}{choice}{rest}" for choice in choices for rest in expand_braces(after)]


@dataclass(frozen=True)
class ShardImages:
    """Reads images out of shards, each by its "<shard>#<offset>+<size>#<name>"."""

    stamps: Mapping[str, tuple[int, int]]  # size and time of change of each shard when it was indexed

    def __call__(self, image: str, min_side: int | None = None, value_range: ValueRange = None) -> Image.Image:
        """Returns an image as `read_image` does."""
        return decode_image(*self.source_of(image), min_side, value_range)

    def source_of(self, image: str) -> tuple[BytesIO, str]:
        """Returns the bytes of an image, and what errors call it."""
        shard, offset, size = LOCATOR.fullmatch(image).groups()
        return BytesIO(self.read_bytes(shard, int(offset), int(size))), image

    def read_bytes(self, shard: str, offset: int, size: int) -> bytes:
        """Returns a part of a shard."""
        stamp = self.stamps[shard]
        try:
            file = open_shard(shard, stamp)
            if file_stamp(file.number) != stamp:
                raise ShardError(f"{shard} has changed since it was indexed: leave shards alone while they are in use")
            return os.pread(file.number, size, offset)
        except OSError as error:
            raise ShardError(f"cannot read the shard {shard}: {error.strerror}; restore it") from error


class OpenFile:
    """An open file that closes itself when nobody holds it any more: a cache may drop it while it is read."""

    def __init__(self, number: int):
        self.number = number
        weakref.finalize(self, os.close, number)


@lru_cache(MAX_OPEN)
def open_shard(shard: str, stamp: tuple[int, int]) -> OpenFile:
    """Returns the open shard; with another stamp it is opened anew."""
    return OpenFile(os.open(shard, os.O_RDONLY))
