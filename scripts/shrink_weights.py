"""Writes the best model of a run as one float16 file, the form in which weights are shipped or passed on.

python scripts/shrink_weights.py runs/<name> weights.safetensors
"""

import argparse
from pathlib import Path

from safetensors.torch import load_file, save_file


def main() -> None:
    """Reads the run's best/model.safetensors and writes half of its bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("file", type=Path, help="file to write")
    arguments = parser.parse_args()
    weights = load_file(arguments.run / "best" / "model.safetensors")
    save_file({name: value.half() for name, value in weights.items()}, arguments.file, metadata={"format": "pt"})
    print(f"{arguments.file}: {arguments.file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
