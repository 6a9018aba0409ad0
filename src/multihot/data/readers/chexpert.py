"""Reads CheXpert (arxiv.org/abs/1901.07031): chest X-rays and 14 observations that a program found in their reports.

Format and labels: https://stanfordmlgroup.github.io/competitions/chexpert/.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multihot.data.readers.csv_file import read_rows
from multihot.data.table.answers import Answers
from multihot.data.table.cells import is_blank
from multihot.data.table.reader import SPLIT_BY_PATHS, TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError, check_choice

OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
UNCERTAIN = {"unknown": -1.0, "ones": 1.0, "zeros": 0.0}  # U-Ignore, U-Ones and U-Zeros of the paper
NAME = re.compile(r"(?:^|/)(?P<patient>patient\w+)/[^/]+/view\d+_(?P<view>frontal|lateral)\.\w+$")


@dataclass(kw_only=True)
class ChexpertReader(TableReader):
    """The images of `train.csv`, `valid.csv` and a test file like them; images of one patient stay in one split.

    Args:
        path: the file of the train split; `val_path` and `test_path` those of the others.
        root: folder that holds `CheXpert-v1.0-small`, with which the paths in the files begin; None: the folder
            above that of the file.
        labels: those of the 14 observations to learn; None: all.
        uncertain: what -1 says: "unknown" (U-Ignore), "ones" (U-Ones), "zeros" (U-Zeros).
        uncertain_by_label: the same for single labels, in place of `uncertain`; None: none.
        blank: what an empty cell says, an observation that the report does not mention.
        view: which images are used.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    uncertain: str
    uncertain_by_label: Mapping[str, str] | None
    blank: str
    view: str

    names_none = True
    way_to_split = SPLIT_BY_PATHS

    def fill(self, table: Table) -> None:
        """Adds the rows of all files to the table."""
        for label in (*(self.uncertain_by_label or ()), *(self.labels or ())):
            check_choice("a label of data.uncertain_by_label or data.labels", label, OBSERVATIONS)
        table.labels = OBSERVATIONS if self.labels is None else tuple(self.labels)
        for split, file in self.paths().items():
            self.add_rows(table, file, split)

    def add_rows(self, table: Table, file: str, split: str) -> None:
        """Adds the rows of one file to the table."""
        rows = read_rows(file)
        header = [cell.strip() for cell in next(rows, (0, []))[1]]
        missing = [name for name in ("Path", *table.labels) if header.count(name) != 1]
        if missing:
            wanted = ", ".join(map(repr, missing))
            raise InputError(
                f"{file} is no file of CheXpert: it must have one column {wanted}; its columns are: {', '.join(header)}"
            )
        table.begin(file, str(Path(file).absolute().parent.parent) if self.root is None else self.root)
        image_column, label_columns = header.index("Path"), [header.index(label) for label in table.labels]
        policies = self.uncertain_by_label or {}
        uncertain = [UNCERTAIN[policies.get(label, self.uncertain)] for label in table.labels]
        says, table.may_mean = Answers(blank=self.blank), False
        for number, cells in rows:
            if len(cells) != len(header):
                table.note_width(number, len(cells), len(header))
                continue
            image = cells[image_column].strip()
            name = NAME.search(image)
            if name is None:
                table.note("paths that do not end like patient00001/study1/view1_frontal.jpg", number, image)
            elif self.view in ("all", name["view"]):
                answers = [cells[k] for k in label_columns]
                values = table.read_answers(says, number, table.labels, answers)
                values = [
                    value if value != -1 or is_blank(cell) else policy
                    for cell, value, policy in zip(answers, values, uncertain, strict=True)
                ]
                table.add(number, image, table.labels, values, split=split, cluster=name["patient"])
