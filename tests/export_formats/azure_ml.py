"""Azure ML's JSON lines, as azureml-automl-dnn-vision 1.62.0.post1 writes them; it has no unlabelled images."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"none"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [
        {
            "image_url": f"AmlDatastore://store/{case.image}",
            "label_confidence": [1.0] * len(case.readings[0]),
            "label": sorted(case.readings[0]),
        }
        for case in cases
    ]
    (folder / "labeled.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [
        "data=azure_ml",
        f"data.path={folder}/labeled.jsonl",
        "data.replace_prefix={AmlDatastore://store/: images/}",
    ]
