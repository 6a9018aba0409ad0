"""Files of labels in the forms that programs save are read, or refused with what they are and the way out."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from test_csv_file import error_of, names, read, write

from multihot.data.readers.json_lines import read_objects
from multihot.errors import InputError

TEXT = "image,labels\na.png,cat dog\nb.png,\n"
WHOLE = {"val_fraction": 0}


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_files_are_read(tmp_path, ending, compress):
    write(tmp_path, "")
    for name, text in ((f"a.csv.{ending}", TEXT), (f"a.tsv.{ending}", TEXT.replace(",", "\t")), ("odd", TEXT)):
        (tmp_path / name).write_bytes(compress(text.encode()))
        assert read(str(tmp_path / name), **WHOLE).labels == ("cat", "dog")
    (tmp_path / "a.jsonl").write_bytes(compress(b'{"image": "a.png", "labels": []}'))
    assert list(read_objects(str(tmp_path / "a.jsonl"))) == [(1, {"image": "a.png", "labels": []})]
    (tmp_path / "cut").write_bytes(compress(TEXT.encode() * 1000)[:-20])
    assert "damaged or cut short" in error_of(str(tmp_path / "cut"), **WHOLE)


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    return content.getvalue()


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    return content.getvalue()


OTHERS = {
    "xlsx": (workbook(), "save the sheet as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook"),
    "parquet": (b"PAR1" + bytes(100), "set data=parquet"),
    "zst": (b"\x28\xb5\x2f\xfd" + bytes(100), "unzstd"),
    "png": (picture(), "a picture"),
    "html": (b"\n<!DOCTYPE html><html>", "download it again"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "tar": (b"a" + bytes(256) + b"ustar" + bytes(250), "a tar archive"),
    "utf-16": (TEXT.encode("utf-16-le"), "UTF-16: save it as UTF-8"),
    "utf-32": (TEXT.encode("utf-32-le"), "UTF-32: save it as UTF-8"),
    "bom": (("\ufeff" + TEXT).encode("utf-16-be"), "UTF-16"),
    "zeros": (b"image,labels\na.png,\0cat\n", "zero bytes"),
    "json": (b'{"image": "a.png", "labels": ["cat"]}\n{"image": "b.png", "labels": []}\n', "set data=jsonl"),
    "list": (b'[{"image": "a.png"},\n{"image": "b.png"}]', "set data=jsonl"),
    "cp1252": (TEXT.replace("cat", "caf\u00e9").encode("cp1252"), "not UTF-8 from line 2 on"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_file_are_refused_by_what_they_hold(tmp_path, kind):
    content, words = OTHERS[kind]
    (tmp_path / "labels.csv").write_bytes(content)
    message = error_of(str(tmp_path / "labels.csv"), **WHOLE)
    assert words in message
    assert "labels.csv" in message
    (tmp_path / "labels.csv").write_bytes(gzip.compress(content))
    assert words in error_of(str(tmp_path / "labels.csv"), **WHOLE)


def test_a_path_that_is_no_file_says_what_it_is(tmp_path):
    path = write(tmp_path, TEXT, images="")
    assert "is a folder, and data.path must be the file of labels. It holds labels.csv." in error_of(str(tmp_path))
    assert "a pattern (1 files fit) is not read here" in error_of(str(tmp_path / "*.csv"))
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in error_of(str(tmp_path / "pipe"))
    Path(path).write_text(" \n")
    assert "is empty" in error_of(path)


@pytest.mark.parametrize(
    "text",
    [
        "image,labels,\na.png,cat dog\nb.png,\n",
        "image,labels,,\na.png,cat dog,,\nb.png,,,\n",
        "image,labels\na.png,cat dog,\nb.png,,,\n",
        "sep=;\nimage;labels\na.png;cat dog\nb.png;\n",
        '"sep=;"\r\nimage;labels\r\na.png;cat dog\r\nb.png;\r\n',
        "sep=,,\nimage,labels\na.png,cat dog\nb.png,\n",
        TEXT.replace("\n", "\r"),
        TEXT.replace("\n", "\r\n"),
        "\n\n" + TEXT,
    ],
)
def test_forms_of_csv_that_mean_the_same(tmp_path, text):
    manifest = read(write(tmp_path, text), **WHOLE)
    assert names(manifest) == ["a.png", "b.png"]
    assert manifest.dense_targets().tolist() == [[1, 1], [0, 0]]


def test_a_declared_delimiter_is_no_line_of_its_own(tmp_path):
    path = write(tmp_path, "sep=;\nimage;labels\nz.png;cat\n")
    assert "line 3: " in error_of(path, **WHOLE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,cat\nb.png,dog\n", ["has no header: its first line is the row of 'a.png'", "such as image,labels"]),
        ("missing.JPG,cat\nb.png,dog\n", ["has no header: its first line is the row of 'missing.JPG'"]),
        ("label,file\nx,y\n", ["must have one column 'image'; its columns are: label, file"]),
        ("image labels\na.png cat dog\n", ["divided by blanks", "'image labels'", "data.delimiter=blanks"]),
        ("image   labels\na.png   cat\n", ["divided by blanks"]),
        ("2\nSmiling Young\na.png -1 1\n", ["divided by blanks"]),
        ("# made today\nimage,labels\na.png,cat\n", ["begins with a comment ('# made today')"]),
        ("image,labels\na.png,cat\nb.png,cat,dog\n", ["line 3: 3 cells instead of 2"]),
        ('image,labels\na.png,"cat\nb.png,dog\n', ["is not CSV", "correct the quotes"]),
    ],
)
def test_forms_of_csv_that_are_refused_with_their_cause(tmp_path, text, words):
    message = error_of(write(tmp_path, text), **WHOLE)
    assert not [word for word in words if word not in message], message


def test_a_name_without_ending_or_header_is_known_by_its_file(tmp_path):
    path = write(tmp_path, "odd,cat\nb.png,dog\n")
    (tmp_path / "odd").write_bytes(b"")
    assert "has no header: its first line is the row of 'odd'" in error_of(path, **WHOLE)


def test_a_cut_file_of_lines_is_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"image": "a"}\n' * 999)[:-9])
    with pytest.raises(InputError, match=r"a.jsonl.gz is compressed, and damaged or cut short"):
        list(read_objects(str(tmp_path / "a.jsonl.gz")))
