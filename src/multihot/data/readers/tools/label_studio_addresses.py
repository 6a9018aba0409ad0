"""How Label Studio calls images: addresses of files that it serves, and of those that were uploaded."""

import os
import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

from multihot.data.table.table import Table
from multihot.errors import name_first

UPLOAD = re.compile(r"(?:.*/)?data/upload/\d+/(?P<stored>(?:[0-9a-f]{8}-)?(?P<original>[^/?]+))")
SERVED = "/data/local-files/?"
LOCAL = f"{SERVED}d="  # and a path below the root of its files
ALIKE = (
    "uploads that may be several files (data.uploads=stored reads Label Studio's own copies, media/upload/<project>)"
)
SAME_UPLOAD = "uploads of the same name (data.uploads=stored reads Label Studio's own copies, media/upload/<project>)"


def address_of(image: str, root: str) -> str:
    """Returns where Label Studio serves a file from, if its document root is `root`.

    >>> address_of("/data/photos/a b.jpg", "/data")
    '/data/local-files/?d=photos/a%20b.jpg'
    """
    return LOCAL + quote(os.path.relpath(image, root))


def quote_local(address: str) -> str:
    """Returns an address as Label Studio needs it, any other one as it is.

    >>> quote_local("/data/local-files/?d=a b.jpg"), quote_local("s3://bucket/a b.jpg")
    ('/data/local-files/?d=a%20b.jpg', 's3://bucket/a b.jpg')
    """
    return LOCAL + quote(address.removeprefix(LOCAL)) if address.startswith(LOCAL) else address


def find_file(image: str, uploads: str) -> tuple[str, bool]:
    """Returns the path that an address of Label Studio stands for, any other as it is; and whether it is an upload.

    >>> find_file("/data/upload/3/0123abcd-%C3%BC.jpg", "original"), find_file("/data/upload/3/01ab01ab-a", "stored")
    (('ü.jpg', True), ('01ab01ab-a', True))
    >>> find_file("/data/local-files/?d=photos/a%20b.jpg", "original"), find_file("s3://bucket/a.jpg", "original")
    (('photos/a b.jpg', False), ('s3://bucket/a.jpg', False))
    """
    if SERVED in image:
        return parse_qs(urlsplit(image).query).get("d", [image])[0], False
    upload = UPLOAD.fullmatch(image)
    return (unquote(upload[uploads]), True) if upload else (image, False)


def valid_name(name: str) -> str:
    """Returns what an uploaded file is called: blanks become _, and all but letters, digits, - and . is left out.

    >>> valid_name("my photo (1).jpg")
    'my_photo_1.jpg'
    """
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


class Originals:
    """The files that were uploaded into Label Studio, in the folder of the images; it keeps a file's name in part."""

    def __init__(self, table: Table):
        self.table = table
        self.task_of: dict[str, object] = {}  # name -> task
        self.files: dict[str, list[str]] = {}  # name that Label Studio gives -> files that it may be
        if os.path.isdir(table.root):
            for name in sorted(os.listdir(table.root)):
                self.files.setdefault(valid_name(name), []).append(name)

    def find(self, image: str, task: object, number: int) -> str:
        """Returns the name of the file that an upload is; notes if it may be several."""
        files = self.files.get(image, [])
        if len(files) > 1:
            self.table.note(ALIKE, number, f"{image} may be {name_first(files)}")
        if self.task_of.setdefault(image, task) != task:
            self.table.note(SAME_UPLOAD, number, f"{image} in the tasks {self.task_of[image]} and {task}")
        return files[0] if len(files) == 1 else image
