"""Pictures in a data set of Hugging Face `datasets`: found by their rows and decoded one at a time."""

from collections.abc import Mapping
from io import BytesIO

from PIL import Image

from multihot.data.images import decode_image
from multihot.data.value_range import ValueRange
from multihot.errors import InputError


class DatasetImages:
    """Reads the picture "<split>#<row>" of data sets that hold their images; each process maps them from the disk."""

    def __init__(self, splits: dict, column: str):
        self.splits = splits  # place -> datasets.Dataset
        self.column = column
        self.stamp = [data._fingerprint for data in splits.values()]  # of `datasets`, whatever its files are called

    def __call__(self, image: str, min_side: int | None = None, value_range: ValueRange = None) -> Image.Image:
        return decode_image(*self.source_of(image), min_side, value_range)

    def source_of(self, image: str) -> tuple[str | BytesIO, str]:
        """Returns the path or the bytes of an image, and what errors call it."""
        place, _, row = image.rpartition("#")
        picture = self.splits[place][int(row)].column(self.column)[0].as_py()
        source = picture["path"] if picture["bytes"] is None else BytesIO(picture["bytes"])
        return source, f"{place} row {row}"


def import_datasets():
    """Returns `datasets`, or says how to install it."""
    try:
        import datasets
    except ImportError as error:
        raise InputError('data=hf needs datasets: pip install -e ".[data]"') from error
    return datasets


def select_images(data, column: str):
    """Returns the images of a split as an Arrow column of {bytes, path}, neither read nor decoded."""
    datasets = import_datasets()
    feature = data.features[column]
    kind = feature.dtype.removeprefix("large_") if isinstance(feature, datasets.Value) else ""
    is_picture = isinstance(feature, datasets.Image) or (isinstance(feature, Mapping) and "bytes" in feature)
    if not is_picture and kind not in ("string", "binary"):
        raise InputError(f"the column {column!r} holds {feature} and no images; choose another by data.image_column")
    return data.select_columns([column]).cast_column(column, datasets.Image(decode=False)).with_format("arrow")


def holds_bytes(images, column: str) -> bool:
    """Returns whether any image of a split is in the data set itself, and no file of its own."""
    chunks = images.data.column(column).chunks
    return any(chunk.field("bytes").null_count < len(chunk) for chunk in chunks)


def locate_images(pictures, place: str, start: int, embedded: bool) -> list[str | None]:
    """Returns "<place>#<row>" of each picture of an Arrow column, or its path; None where it has none."""
    from pyarrow.compute import struct_field

    paths = struct_field(pictures, "path").to_pylist()
    if not embedded:
        return paths
    has_bytes = struct_field(pictures, "bytes").is_valid().to_pylist()
    exists = [here or bool(path) for here, path in zip(has_bytes, paths, strict=True)]
    return [f"{place}#{start + k}" if there else None for k, there in enumerate(exists)]
