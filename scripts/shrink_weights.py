"""Writes the best model of a run as one float16 file, the form in which weights are shipped or passed on.

python scripts/shrink_weights.py runs/<name> weights.safetensors
"""

import argparse
import json
import os
from pathlib import Path

from multihot.cli import fail
from multihot.errors import InputError
from multihot.files import prepare_file, save_tensors, temporary_name, writing
from multihot.model.sources import is_multi_label
from multihot.model.state import check_finite
from multihot.model.weight_files import read_json_file, read_stored_tensors
from multihot.seal import check_model


def main() -> None:
    """Reads the run's best/ and writes half of its bytes, with the class names in the file's metadata."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("file", type=Path, help="file to write")
    arguments = parser.parse_args()
    best = arguments.run / "best"
    if not best.is_dir():
        parser.error(f"{arguments.run} is no run folder: it has no best/")
    try:
        shrink(best, arguments.file)
    except InputError as error:
        fail(str(error))
    print(f"{arguments.file}: {arguments.file.stat().st_size / 1e6:.2f} MB")


def shrink(best: Path, file: Path) -> None:
    """Writes the float16 weights of a model; raises InputError if it is damaged, or the file is there and not ours."""
    way_out = "give the file another name"
    prepare_file(file, b'"label_names"', way_out)
    check_model(best)
    metadata, weights = read_metadata(best), read_stored_tensors(best / "model.safetensors")
    halved = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    check_finite(halved, f"{best} in float16")
    with writing(file, way_out):
        save_tensors(temporary_name(file), halved, metadata)
        os.replace(temporary_name(file), file)


def read_metadata(best: Path) -> dict[str, str]:
    """Returns what multihot.model.sources reads from a file: class names, and whether each row had its own sigmoid."""
    config = read_json_file(best / "config.json")
    if "label_names" not in config:
        raise InputError(f"{best}/config.json has no label_names: it is no model that train.py has written")
    return {
        "format": "pt",
        "label_names": json.dumps(config["label_names"]),
        "is_multi_label": json.dumps(is_multi_label(config)),
    }


if __name__ == "__main__":
    main()
