"""Where the columns of one file are that the settings name."""

from multihot.command_line import write_override
from multihot.data.table.column_settings import ColumnSettings
from multihot.data.table.doubtful_columns import UNNAMED, find_numbered, stem
from multihot.data.table.made_columns import MOST_COLUMNS
from multihot.errors import InputError, name_first


class ColumnPlaces:
    """Where the columns of one file are.

    Args:
        num_own: how many columns the file has itself; those after them are made, and used where a setting names them.
    """

    def __init__(self, reader: ColumnSettings, file: str, header: list[str], one_file: bool, num_own: int):
        self.reader, self.file, self.header, self.num_own = reader, file, header, num_own
        self.image = self.find("image_column", required=True)
        has_labels = reader.layout != "columns"
        self.labels_columns = self.find_labels_columns() if has_labels else []
        self.unknown = self.find("unknown_column") if reader.layout == "cell" else None
        self.value = self.find("value_column") if reader.layout == "pairs" else None
        self.weight, self.cluster = self.find("weight_column"), self.find("cluster_column")
        self.split = self.find_split(one_file)
        self.labels = [] if has_labels else self.find_labels()
        self.places = [header.index(label) for label in self.labels]

    def used(self) -> set[int]:
        """Returns the places of the columns that a setting names."""
        places = {self.image, *self.labels_columns, self.unknown, self.value, self.weight, self.cluster}
        others = {*self.reader.names("ignore_columns"), *self.reader.sources()}
        places |= {place for place, name in enumerate(self.header) if name in others}
        return places - {None}

    def unused(self) -> dict[int, str]:
        """Returns place and name of each column that no setting names."""
        used = self.used() | {self.split}
        return {place: name for place, name in enumerate(self.header[: self.num_own]) if place not in used}

    def find(self, setting: str, required: bool = False) -> int | None:
        """Returns where the column of a setting is; None if the setting is."""
        name = getattr(self.reader, setting)
        if name is None and not required:
            return None
        if self.header.count(name) != 1:
            must = "must have one" if required else "has no"
            way_out = "" if required else ", or null"
            raise InputError(
                f"{self.file} {must} column {name!r}; {self.columns}. Choose one by data.{setting}{way_out}"
            )
        return self.header.index(name)

    def find_split(self, one_file: bool) -> int | None:
        """Returns where the split column is; None if there is none and none is needed."""
        name = self.reader.split_column
        if name in self.header:
            if not one_file:
                divided = f"{self.file} has a column {name!r}, and data.val_path or data.test_path is given too"
                raise InputError(f"{divided}: set data.split_column or these paths to null")
            return self.header.index(name)
        has_others = not self.used().issuperset(range(self.num_own))
        if name is not None and one_file and has_others and self.reader.layout != "columns":
            raise InputError(
                f"{self.file} has no column {name!r}; {self.columns}. Choose one by data.split_column, or null"
            )
        return None

    def find_labels_columns(self) -> list[int]:
        """Returns where the columns of labels are; raises InputError if another is called alike and not named."""
        names = self.reader.names("labels_column")
        if self.reader.layout == "pairs" and len(names) != 1:
            raise InputError("data.layout=pairs has one label a row: data.labels_column must be one column")
        missing = [name for name in names if self.header.count(name) != 1]
        if not names:
            raise InputError("data.labels_column must name a column, or a list of them")
        if missing:
            numbered = find_numbered([f"{stem(name)}_1" for name in (*missing, *("label", "tag"))], self.header)
            hint = f"; or several, by {write_override('data.labels_column', numbered)}" if len(numbered) > 1 else ""
            raise InputError(
                f"{self.file} must have one column {', '.join(map(repr, missing))}; {self.columns}. Choose one by "
                f"data.labels_column{hint}; if each label has a column of its own, set data.layout=columns"
            )
        further = find_numbered(names, [name for name in self.header if name not in names])
        further = [name for name in further if name not in self.reader.names("ignore_columns")]
        if further:
            raise InputError(
                f"{self.file} has further columns that are called like data.labels_column, and that nothing reads: "
                f"{', '.join(map(repr, further))}. {write_override('data.labels_column', [*names, *further])} reads "
                f"them, {write_override('data.ignore_columns', further)} leaves them out"
            )
        return [self.header.index(name) for name in names]

    def find_labels(self) -> list[str]:
        """Returns the names of the columns that are labels."""
        labels = list(self.unused().values())
        if self.reader.label_columns is not None:
            labels = self.reader.names("label_columns")
            missing = [label for label in labels if label not in self.header]
            if missing:
                raise InputError(f"{self.file} has no column {', '.join(map(repr, missing))} of data.label_columns")
        twice = [label for label in dict.fromkeys(labels) if self.header.count(label) > 1 or labels.count(label) > 1]
        if twice:
            raise InputError(
                f"{self.file} has several columns {', '.join(map(repr, twice))}: give each label one, or leave it out "
                f"by {write_override('data.ignore_columns', twice)}"
            )
        unnamed = [label for label in labels if UNNAMED.fullmatch(label)]
        if unnamed and self.reader.label_columns is None:
            raise InputError(
                f"{self.file} has a column without a name ({', '.join(map(repr, unnamed))}; an index?), which would be "
                f"a label: name it in the file, or leave it out by {write_override('data.ignore_columns', unnamed)}"
            )
        return labels

    @property
    def columns(self) -> str:
        """The columns in words."""
        return f"its columns are: {name_first(self.header, MOST_COLUMNS)}"
