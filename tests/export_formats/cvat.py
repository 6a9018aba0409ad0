"""Two files of `CVAT for images 1.1`, one a person; images that nobody has opened look like those without a tag."""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from exports import LABELS, Case

KEEPS = {"unknown", "annotators"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    """Writes the export and returns what reads it."""
    (folder / "jobs").mkdir()
    for person in range(2):
        of_job = [(case.image, case.readings[person : person + 1]) for case in cases]
        images = [write_image(*image) for image in of_job if person == 0 or image[1]]
        (folder / "jobs" / f"{person}.xml").write_text(write_file(images))
    return ["data=cvat", f"data.path={folder}/jobs", f"data.root={folder}"]


def write_image(image: str, readings: Sequence[set[str]]) -> str:
    labels = sorted(set().union(*readings))
    tags = [f'    <tag label={quoteattr(label)} source="manual">\n    </tag>\n' for label in labels]
    return f'  <image id="0" name={quoteattr(image)} width="8" height="8">\n{"".join(tags)}  </image>\n'


def write_file(images: Sequence[str]) -> str:
    labels = "".join(f"<label><name>{label}</name><type>any</type></label>" for label in LABELS)
    meta = f"  <meta><job><id>1</id><labels>{labels}</labels></job></meta>\n"
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    return f"{head}{meta}{''.join(images)}</annotations>\n"
