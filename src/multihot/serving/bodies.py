"""Reads the body of a request, multipart or JSON, into memory and within its limits."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from multihot.serving.limits import Limits, Refused, Share

FIELD_BYTES = 4096  # of a field that is no file
NUM_FIELDS = 8
DATA_URL = "base64,"  # what a data URL has before its data


class Upload(NamedTuple):
    """One image as it came: its name, and its bytes or why they were not taken."""

    name: str
    content: bytes | None
    error: str | None = None


@dataclass
class Body:
    """The images of a request and its other fields."""

    uploads: list[Upload] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)


async def read_body(content_type: str, length: str, chunks: AsyncIterator[bytes], share: Share) -> Body:
    """Returns the images and the fields of a request.

    Args:
        content_type, length: the headers, empty if there are none.
        chunks: the body, which is counted as it comes.

    Raises:
        Refused: it is too large, damaged, or of another type.
    """
    kind, options = parse_options_header(content_type)
    limits = share.gate.limits
    if length.isdecimal() and int(length) > limits.request_bytes:
        raise Refused(413, f"a request may hold {limits.request_bytes} bytes (request_mb)")
    if kind == b"application/json":
        return read_json(await join(chunks, share), limits)
    if kind == b"multipart/form-data" and options.get(b"boundary"):
        return await read_multipart(options[b"boundary"], chunks, share)
    raise Refused(415, "send multipart/form-data with files, or application/json")


async def join(chunks: AsyncIterator[bytes], share: Share) -> bytes:
    """Returns all bytes."""
    content = bytearray()
    async for chunk in chunks:
        share.add_bytes(len(chunk))
        content += chunk
    return bytes(content)


def read_json(content: bytes, limits: Limits) -> Body:
    """Returns the images of `{"images": ["<base64>", {"name": "a.jpg", "data": "<base64>"}], "top_k": 5}`.

    A string is data and never the name of a file: nothing is read from the disk or from a network.
    """
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"this is no JSON: {error}") from error
    images = fields.pop("images", None) if isinstance(fields, dict) else None
    if not isinstance(images, list):
        raise Refused(422, 'expected {"images": ["<base64>", {"name": "a.jpg", "data": "<base64>"}, ...]}')
    check_number(len(images), limits)
    return Body([decode_entry(str(number), entry, limits) for number, entry in enumerate(images)], fields)


def decode_entry(name: str, entry: object, limits: Limits) -> Upload:
    """Returns one image of JSON."""
    data = entry
    if isinstance(entry, dict):
        name, data = str(entry.get("name", name)), entry.get("data")
    if not isinstance(data, str):
        return Upload(name, None, "expected its bytes as base64")
    data = data.partition(DATA_URL)[2] if data.startswith("data:") else data
    if len(data) * 3 // 4 > limits.file_bytes + 2:
        return too_large(name, limits)
    try:
        return Upload(name, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        return Upload(name, None, f"its data is no base64: {error}")


def too_large(name: str, limits: Limits) -> Upload:
    """Returns an image whose bytes were not kept."""
    return Upload(name, None, f"the file has more than {limits.file_bytes} bytes (file_mb)")


def check_number(number: int, limits: Limits) -> None:
    """Raises Refused for too many images."""
    if number > limits.num_files:
        raise Refused(413, f"a request may hold {limits.num_files} images (num_files)")


async def read_multipart(boundary: bytes, chunks: AsyncIterator[bytes], share: Share) -> Body:
    """Returns the files and the fields of a form."""
    form = Form(share.gate.limits)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            share.add_bytes(len(chunk))
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"this is no form: {error}") from error
    if not form.has_ended:
        raise Refused(400, "the form is cut short")
    return form.body


class Form:
    """A form as its parts come; starlette's own writes files of a megabyte to the disk."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.body = Body()
        self.has_ended = False
        self.begin()

    def callbacks(self) -> dict[str, Callable]:
        """Returns what the parser calls."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self.key.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.value.extend(data[start:end]),
            "on_header_end": self.end_header,
            "on_headers_finished": self.end_headers,
            "on_part_data": self.add,
            "on_part_end": self.end_part,
            "on_end": self.end,
        }

    def begin(self) -> None:
        """Begins a part."""
        self.key, self.value, self.content = bytearray(), bytearray(), bytearray()
        self.options: dict[bytes, bytes] = {}
        self.is_too_large = False

    def end_header(self) -> None:
        """Notes a header, of which one alone matters."""
        if self.key.lower() == b"content-disposition":
            self.options = parse_options_header(self.value.decode("latin-1"))[1]
        self.key, self.value = bytearray(), bytearray()

    @property
    def name(self) -> str | None:
        """The file's name; None: it is a field."""
        name = self.options.get(b"filename")
        return None if name is None else name.decode("utf-8", errors="replace")

    def end_headers(self) -> None:
        """Raises Refused for one part too many."""
        if self.name is None and len(self.body.fields) >= NUM_FIELDS:
            raise Refused(413, f"a form may hold {NUM_FIELDS} fields besides its files")
        if self.name is not None:
            check_number(len(self.body.uploads) + 1, self.limits)

    def add(self, data: bytes, start: int, end: int) -> None:
        """Adds to the part; of a file that is too large nothing is kept."""
        if self.is_too_large:
            return
        self.content += data[start:end]
        if self.name is None and len(self.content) > FIELD_BYTES:
            raise Refused(413, f"a field may hold {FIELD_BYTES} bytes")
        if len(self.content) > self.limits.file_bytes:
            self.is_too_large, self.content = True, bytearray()

    def end_part(self) -> None:
        """Adds the part to the body; a form without a chosen file has an empty one without a name."""
        name, content = self.name, bytes(self.content)
        if name is None:
            key = self.options.get(b"name", b"").decode("utf-8", errors="replace")
            self.body.fields[key] = content.decode("utf-8", errors="replace")
        elif self.is_too_large:
            self.body.uploads.append(too_large(name, self.limits))
        elif name or content:
            self.body.uploads.append(Upload(name, content))
        self.begin()

    def end(self) -> None:
        """Notes that the last boundary has come."""
        self.has_ended = True
