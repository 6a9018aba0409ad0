"""Reads NUS-WIDE (doi.org/10.1145/1646396.1646452): its folder of lists, or a CSV file that others made of them."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multihot.data.formats.text_files import read_bytes
from multihot.data.readers.csv_file import CsvReader
from multihot.data.table.columns import Rows
from multihot.errors import InputError

LISTS = "ImageList/Imagelist.txt"
SPLITS = {"train": "ImageList/TrainImagelist.txt", "test": "ImageList/TestImagelist.txt"}
TRUTH = "Groundtruth/AllLabels/Labels_*.txt"  # 0 or 1 for each image of the list, a file a concept
TAGS = "tags of users and not the truth: give the folder that holds ImageList and Groundtruth"


@dataclass(kw_only=True)
class NusWideReader(CsvReader):
    """The folder of NUS-WIDE, or a CSV file with image, labels and split; see CsvReader.

    In the folder, line n of each file of Groundtruth/AllLabels is about the image in line n of the list of images.
    """

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the columns of image, labels and split, and a row for each image."""
        if "_Tags" in os.path.basename(file):  # Train_Tags81.txt, NUS_WID_Tags
            raise InputError(f"{file} holds {TAGS}")
        return self.open_lists(file) if os.path.isdir(file) else super().open(file)

    def open_lists(self, folder: str) -> tuple[list[str], Rows]:
        """Returns the columns and the rows of the folder."""
        images = read_list(os.path.join(folder, LISTS))
        split_of = {image: split for split, name in SPLITS.items() for image in read_list(os.path.join(folder, name))}
        labels: list[list[str]] = [[] for _ in images]
        files = sorted(glob.glob(os.path.join(glob.escape(folder), TRUTH)))
        if not files:
            has_tags = os.path.isdir(os.path.join(folder, "NUS_WID_Tags"))
            hint = f"; what NUS_WID_Tags holds are {TAGS}" if has_tags else ""
            raise InputError(f"{folder} has no files {TRUTH}: unpack Groundtruth.zip there{hint}")
        for file in files:
            concept = os.path.basename(file).removeprefix("Labels_").removesuffix(".txt")
            for place in read_present(file, len(images)):
                labels[place].append(concept)
        top = os.path.join(os.path.abspath(folder), "Flickr") if self.root is None else ""
        cells = ([os.path.join(top, image), labels[k], split_of.get(image, "")] for k, image in enumerate(images))
        return [self.image_column, str(self.labels_column), str(self.split_column)], enumerate(cells, start=1)


def read_list(file: str) -> list[str]:
    """Returns the images of a list, whose folders are divided by \\ in the file."""
    words = read_bytes(file).decode("utf-8", "surrogateescape").split("\n")
    return [word.strip().replace("\\", "/") for word in words if word.strip()]


def read_present(file: str, num_images: int) -> Sequence[int]:
    """Returns which images have the concept of a file: its lines that are 1."""
    answers = np.array(read_bytes(file).split())
    if len(answers) != num_images or not np.isin(answers, [b"0", b"1"]).all():
        raise InputError(f"{file} must have a line 0 or 1 for each of the {num_images} images of {LISTS}; restore it")
    return np.flatnonzero(answers == b"1").tolist()
