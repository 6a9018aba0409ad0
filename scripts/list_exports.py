"""Writes tiny models of all families of ViTs in timm as ONNX, compares logits, and writes docs/onnx_families.md.

python scripts/list_exports.py      a quarter of an hour on two cores
python scripts/list_exports.py naflexvit_base_patch16_map volo_d1_224      these alone, printed
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import onnxruntime
import timm
import torch
from timm.data import resolve_input_data_config
from tiny_vits import MODELS, build, shrunk

from multihot.errors import InputError
from multihot.export.onnx_check import BATCH_SIZES
from multihot.export.onnx_model import computing
from multihot.export.onnx_names import IMAGE
from multihot.export.onnx_trace import trace, unfused_attention

PAGE = Path(__file__).resolve().parents[1] / "docs/onnx_families.md"
MANY = 17
OPTIONS = onnxruntime.SessionOptions()
OPTIONS.log_severity_level = 3  # errors
INTRODUCTION = """# Which ViTs can be written as ONNX

Tiny models of all families of ViTs in timm {timm}, drawn at random, with torch {torch} and onnxruntime {runtime}:
the largest difference in a logit from torch, as a share of the largest logit (of 1 if that is smaller), in batches of
1, 2, 3 and 17. What cannot be written is refused with the words below, and no file is left. Made by

    python scripts/list_exports.py

| family of timm | model | difference |
|---|---|---|
"""


def measure(name: str) -> str:
    """Returns the largest difference in a logit, or why there is none."""
    try:
        with unfused_attention(), shrunk(name):
            model = build(name, "linear").eval()
    except InputError as error:
        return f"not for any run: {error}"
    size = resolve_input_data_config(model)["input_size"]
    images = torch.randn(MANY, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model(images)
    differences = []
    try:
        content = trace(model, size).SerializeToString()
        with computing(name):
            session = onnxruntime.InferenceSession(content, OPTIONS)
            for batch_size in (*BATCH_SIZES, MANY):
                got = torch.from_numpy(session.run(None, {IMAGE: images[:batch_size].numpy()})[0])
                differences.append((got - wanted[:batch_size]).abs().max() / wanted.abs().max().clamp(min=1))
    except InputError as error:
        return str(error)
    return f"{max(differences):.0e}"


def main() -> None:
    """Writes the page, or prints the rows of some models."""
    results = {}
    for name in sys.argv[1:] or MODELS:
        results[name] = measure(name)
        print(name, results[name], flush=True)
    if not sys.argv[1:]:
        PAGE.write_text(format_page(results))


def format_page(results: dict[str, str]) -> str:
    """Returns the page: a row a model, and below it why some are refused."""
    refused = [name for name, result in results.items() if " " in result]
    rows = [f"| {MODELS[name]} | {name} | {'no' if name in refused else results[name]} |" for name in results]
    reasons = [f"- `{name}`: {results[name]}" for name in refused]
    versions = {"timm": timm.__version__, "torch": torch.__version__, "runtime": onnxruntime.__version__}
    return INTRODUCTION.format(**versions) + "\n".join([*rows, "", *reasons]).rstrip() + "\n"


if __name__ == "__main__":
    main()
