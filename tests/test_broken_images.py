"""Whatever a file holds and whatever is at its path: an error with its name, in decoder, doctor and lists."""

import json
import logging
import os
import random
import socket
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config, load_script
from PIL import ExifTags, Image
from scipy.sparse import csr_array

from multihot.cli import print_any_name
from multihot.data import load_split
from multihot.data.bad_images import save_dropped
from multihot.data.checks.inspection import inspect_image
from multihot.data.images import DECODE_ERRORS, decode_image, read_image
from multihot.data.manifest import BadImage, Manifest
from multihot.errors import InputError
from multihot.files import reading

FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP")
NUM_DAMAGED = 60  # of each format
FOREIGN = {
    "a web page": b"<!DOCTYPE html><title>Sign in</title>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n",
    "an SVG drawing": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "a PDF document": b"%PDF-1.7\n",
    "a HEIC photo": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a JPEG XL picture": b"\xff\x0a\xfa\x7f\x01",
    "a camera's raw file (CR2)": b"II*\0\x10\0\0\0CR\x02\0" + bytes(200),
    "a DICOM file": bytes(128) + b"DICM\x02\0\0\0",
    "a video": b"\0\0\0\x18ftypisom\0\0\0\0",
    "a NumPy array": b"\x93NUMPY\x01\0v\0",
    "a ZIP archive": b"PK\x03\x04" + bytes(30),
    "full of zeros": bytes(2000),
    "a JSON text": b'{"error": "not found"}',
    "a JPEG with a damaged header": b"\xff\xd8\xff",
    "a TIFF of a kind that Pillow does not read": b"II*\0\x08\0\0\0\0\0" + bytes(4),
    "a PostScript drawing": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
}


def draw(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 20, 3), np.uint8))


def encode(picture: Image.Image, format: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "maker"
    file = BytesIO()
    picture.save(file, format, **({"exif": exif} if format in ("JPEG", "PNG", "TIFF", "WEBP") else {}))
    return file.getvalue()


def why_refused(path: str) -> str | None:
    """Returns the error of reading a picture; None: it decodes."""
    try:
        read_image(path)
    except InputError as error:
        return str(error)
    return None


def damage(content: bytes, rng: random.Random) -> bytes:
    """Returns a file with some bytes changed, taken out or put in, most of them in its head, or cut short."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 2, 4])):
        place = rng.randrange(min(len(content), rng.choice([64, 400, len(content)])))
        match rng.randrange(5):
            case 0 | 1:
                content[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            case 2:
                del content[place : place + rng.randrange(1, 9)]
            case 3:
                content[place:place] = rng.randbytes(3)
            case 4:
                content = content[: place + 8]
    return bytes(content)


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_decodes_or_is_an_error_with_its_name(tmp_path, format):
    rng, content = random.Random(0), encode(draw(0), format)
    statuses = set()
    for number in range(NUM_DAMAGED):
        path = tmp_path / f"{number}.img"
        path.write_bytes(damage(content, rng))
        words = why_refused(str(path))
        assert words is None or words.startswith(f"cannot read the image {path}: ")
        assert words is None or "\n" not in words
        statuses.add(inspect_image(str(path)).status)
    assert "unreadable" in statuses


@pytest.mark.parametrize("error", [one for one in DECODE_ERRORS if one is not Warning] + [UserWarning])
def test_whatever_pillow_raises_is_an_error_with_the_name(tmp_path, monkeypatch, error):
    def fail(*arguments, **settings):
        raise error()

    (tmp_path / "a.png").write_bytes(encode(draw(0), "PNG"))
    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert read_image(str(tmp_path / "a.png")).size == (20, 24)  # only what the metadata say is lost
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(InputError, match=r"a\.png: \w+"):
        read_image(str(tmp_path / "a.png"))
    assert inspect_image(str(tmp_path / "a.png")).status in ("unreadable", "huge")


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_is_no_picture_is_named_with_the_way_out(tmp_path, what):
    (tmp_path / "photo.jpg").write_bytes(FOREIGN[what])
    with pytest.raises(InputError) as caught:
        read_image(str(tmp_path / "photo.jpg"))
    assert str(caught.value).startswith(f"cannot read the image {tmp_path}/photo.jpg: it is ")
    assert what in str(caught.value)
    with pytest.raises(InputError):
        decode_image(BytesIO(FOREIGN[what]), "row 7")
    assert what in inspect_image(str(tmp_path / "photo.jpg")).reason


def make_irregular(path, kind: str) -> None:
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path)


@pytest.mark.parametrize(
    "kind", ["a named pipe", "a socket", "a folder", "a device", "Too many levels of symbolic links"]
)
def test_what_is_no_regular_file_is_not_opened(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.png"
    make_irregular(path, kind)
    with pytest.raises(InputError, match=f"a.png: .*{kind}"):
        read_image(str(path))
    assert kind in inspect_image(str(path)).reason
    (tmp_path / "b.png").write_bytes(encode(draw(0), "PNG"))
    manifest = Manifest(("cat",), [str(path), str(tmp_path / "b.png")], csr_array(np.int8([[1], [1]])))
    left = load_split(
        lambda *_, **__: manifest,
        "train",
        max_images=None,
        bad_images="skip",
        cache_folder=str(tmp_path / "cache"),
        num_workers=0,
    )
    assert list(left.images) == [str(tmp_path / "b.png")]
    assert kind in left.dropped[0].reason


def test_a_name_that_is_not_utf8_is_read_reported_and_printed(tmp_path, monkeypatch):
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        draw(len(label)).save(os.fsdecode(bytes(tmp_path / "train" / label) + b"/ph\xe9to.png"))
    broken = os.fsdecode(bytes(tmp_path) + b"/train/dog/br\xf6ken.png")
    Path(broken).write_bytes(b"<html>")
    out, console = tmp_path / "report", TextIOWrapper(BytesIO(), encoding="utf-8", errors="strict")
    cfg = compose_config("validate_data", ["data=folder", f"data.path={tmp_path}/train", f"out={out}", "num_workers=1"])
    logging.disable(logging.CRITICAL)  # pytest-xdist cannot send such a name
    with pytest.raises(SystemExit):
        load_script("scripts/validate_data").main.__wrapped__(cfg)
    logging.disable(logging.NOTSET)
    [found] = [one for one in json.loads((out / "report.json").read_text())["findings"] if one["kind"] == "unreadable"]
    assert found["entries"][0]["images"][0]["image"] == broken
    assert "br\\udcf6ken.png" in (out / "report.html").read_text()
    dropped = Manifest(("cat",), [], csr_array((0, 1), dtype=np.int8), dropped=(BadImage(broken, f"not {broken}"),))
    save_dropped(dropped, tmp_path / "bad.csv")
    assert b"br\xf6ken.png" in (tmp_path / "bad.csv").read_bytes()
    monkeypatch.setattr("sys.stdout", console)
    print_any_name()
    print(broken, flush=True)
    assert console.buffer.getvalue().endswith(b"br\\udcf6ken.png\n")


def test_a_file_of_labels_that_is_none_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"labels\.csv is a named pipe and no file"), reading(f"{tmp_path}/labels.csv"):
        pass
