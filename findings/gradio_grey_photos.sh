#!/usr/bin/env bash
# gradio 6.31.0 hands a grey or CMYK JPEG to the function as another, coarser JPEG, where `Image(type="filepath")` is
# asked.
#
# What it does: a file whose mode is not the component's image_mode ("RGB" unless told) is converted and written anew
#   in its own format by Pillow's standard quality. Colour JPEGs come through byte by byte, and type="pil" and "numpy"
#   decode the upload.
# One would expect: the path of the upload, or a copy without loss, as for PNG.
# Seen: a grey photo saved at quality 95: the file that the function opens has quality 75, and its pixels are off by up
#   to 27, on average by 5. The same photo as colour JPEG: off by 0. With image_mode=None the grey file comes through
#   as well.
# For users: X-rays and other grey photos get scores in the demo that the model does not give on the files. Take
#   type="pil", or image_mode=None and convert in the function.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0 pillow==12.3.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import gradio
import numpy as np
from gradio.data_classes import ImageData
from PIL import Image

folder = Path(sys.argv[1])
row, column = np.mgrid[:60, :80]
noise = np.random.default_rng(0).normal(0, 8, (60, 80))
drawn = Image.fromarray(np.clip(127 + 60 * np.sin(column / 5) + 60 * np.cos(row / 7) + noise, 0, 255).astype(np.uint8))
seen = {}
for mode in ("L", "CMYK", "RGB"):
    upload = folder / f"{mode}.jpg"
    drawn.convert("RGB").convert(mode).save(upload, quality=95)
    truth = np.asarray(Image.open(upload).convert("RGB")).astype(int)
    for kind, image_mode in (("filepath", "RGB"), ("filepath", None), ("pil", "RGB")):
        component = gradio.Image(type=kind, image_mode=image_mode)
        given = component.preprocess(ImageData(path=str(upload), orig_name=upload.name))
        opened = given if kind == "pil" else Image.open(given)
        off = np.abs(np.asarray(opened.convert("RGB")) - truth)
        step = None if kind == "pil" else opened.quantization[0][0]
        seen[mode, kind, image_mode] = int(off.max())
        print(f"{mode} at quality 95, type={kind}, image_mode={image_mode}: off by up to {off.max()},"
              f" mean {off.mean():.1f}, first step of the file {step}")
lost = {key for key, off in seen.items() if off > 5}
if lost != {("L", "filepath", "RGB"), ("CMYK", "filepath", "RGB")} or any(seen[key] for key in seen.keys() - lost):
    raise SystemExit("changed: which uploads are written anew")
PYTHON
