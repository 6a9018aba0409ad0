"""Writes the best model of a run as one float16 file, the form in which weights are shipped or passed on.

python scripts/shrink_weights.py runs/<name> weights.safetensors
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from multihot.errors import InputError
from multihot.model.sources import is_multi_label
from multihot.model.state import check_finite


def main() -> None:
    """Reads the run's best/ and writes half of its bytes, with the class names in the file's metadata."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("file", type=Path, help="file to write")
    arguments = parser.parse_args()
    best = arguments.run / "best"
    if not best.is_dir():
        parser.error(f"{arguments.run} is no run folder: it has no best/")
    weights = load_file(best / "model.safetensors")
    halved = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    try:
        check_finite(halved, f"{best} in float16")
    except InputError as error:
        parser.error(str(error))
    save_file(halved, arguments.file, metadata=read_metadata(best))
    print(f"{arguments.file}: {arguments.file.stat().st_size / 1e6:.2f} MB")


def read_metadata(best: Path) -> dict[str, str]:
    """Returns what multihot.model.sources reads from a file: class names, and whether each row had its own sigmoid."""
    config = json.loads((best / "config.json").read_text())
    return {
        "format": "pt",
        "label_names": json.dumps(config["label_names"]),
        "is_multi_label": json.dumps(is_multi_label(config)),
    }


if __name__ == "__main__":
    main()
