"""The file, or its bytes, that a picture is decoded from."""

from io import BytesIO

from PIL import Image


def check_size(width: int, height: int) -> None:
    """Raises an error where Pillow only warns: decoding an image that large may exhaust the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise Image.DecompressionBombError


def rewind(source: str | BytesIO) -> None:
    """Has bytes read from their begin again."""
    if isinstance(source, BytesIO):
        source.seek(0)


def read_start(source: str | BytesIO) -> bytes:
    """Returns the first bytes of a file or of bytes, as many as tell what it is."""
    if isinstance(source, BytesIO):
        return source.getvalue()[:1024]
    with open(source, "rb") as file:
        return file.read(1024)


def read_all(source: str | BytesIO) -> bytes:
    """Returns all bytes of a file."""
    if isinstance(source, BytesIO):
        return source.getvalue()
    with open(source, "rb") as file:
        return file.read()
