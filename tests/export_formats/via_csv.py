"""The annotations of VIA 2.0.10 as CSV: a row a region, or one for an image without regions."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"unknown"}
HEADER = [
    "filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
]
REGION = json.dumps({"name": "rect", "x": 1, "y": 1, "width": 2, "height": 2})


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    with (folder / "via_export.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, case in enumerate(cases):
            tags = dict.fromkeys(sorted(case.readings[0]), True) if case.readings else {}
            attributes, count = json.dumps({"tags": tags}), number % 3
            regions = [(count, place, REGION, "{}") for place in range(count)] or [(0, 0, "{}", "{}")]
            writer.writerows([case.image, 80, attributes, *region] for region in regions)
    return ["data=via", f"data.path={folder}/via_export.csv", f"data.root={folder}/images"]
