"""Prints how far the probabilities of a run move where others decode a picture otherwise than this package.

python scripts/compare_decoding.py runs/<name> photos/*.jpg

Each picture is written in every kind and read by multihot.data.images.read_image as evaluate.py reads it, by
transformers, and by Pillow alone, as the model cards of timm have it. The model is the same, in float32.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import ExifTags, Image
from timm.data import create_transform

from multihot.cli import fail
from multihot.data.images import read_image
from multihot.errors import InputError
from multihot.prediction.predictor import Predictor, open_predictor
from multihot.run.folder import load_run

LARGE = 2048  # pixels of the shorter side of a large photo


def main() -> None:
    """Prints a row a kind of picture: the largest difference of a probability."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("pictures", nargs="+", type=Path, help="photos of 8 bits")
    arguments = parser.parse_args()
    try:
        run = load_run(arguments.run, changes={"mixed_precision": "no"})  # as others compute
        with open_predictor(*run) as predictor, TemporaryDirectory() as folder:
            print(f"{'':<40}{'transformers':>14}{'Pillow':>14}")
            for kind, save in KINDS.items():
                largest = compare(predictor, arguments.pictures, save, Path(folder))
                print(f"{kind:<40}{largest['transformers']:>14.4f}{largest['Pillow']:>14.4f}", flush=True)
    except InputError as error:
        fail(str(error))


def compare(
    predictor: Predictor, pictures: list[Path], save: Callable[[Image.Image, Path], Path], folder: Path
) -> Mapping[str, float]:
    """Returns the largest difference of a probability to ours, by who decodes the pictures.

    Args:
        save: writes a picture under a name without an ending, and returns its file.
    """
    read = readers()
    largest = dict.fromkeys(read, 0.0)
    for path in pictures:
        file = save(read_image(str(path)), folder / "picture")
        ours = probability(predictor, predictor.prepare(read_image(str(file), predictor.min_side)))
        for name, decode in read.items():
            theirs = probability(predictor, prepare_elsewhere(predictor.preprocessing, decode(str(file))))
            largest[name] = max(largest[name], (theirs - ours).abs().max().item())
    return largest


def readers() -> dict[str, Callable[[str], Image.Image]]:
    """Returns how others read a file."""
    from transformers.image_utils import load_image

    return {"transformers": load_image, "Pillow": lambda path: Image.open(path).convert("RGB")}


def prepare_elsewhere(preprocessing: Mapping, picture: Image.Image) -> np.ndarray:
    """Returns the pixels uint8 (3, H, W) that timm's own transform makes, in transformers too."""
    return np.asarray(create_transform(**preprocessing, use_prefetcher=True)(picture))


def probability(predictor: Predictor, pixels: np.ndarray) -> torch.Tensor:
    """Returns the probability (C,) of each label, not calibrated: pixels uint8 (3, H, W)."""
    return predictor.space.probability(predictor.logits(torch.from_numpy(pixels)[None]))[0]


def save_jpeg(picture: Image.Image, name: Path, **options: object) -> Path:
    """Writes a JPEG."""
    picture.save(name.with_suffix(".jpg"), quality=95, **options)
    return name.with_suffix(".jpg")


def save_large(picture: Image.Image, name: Path) -> Path:
    """Writes a JPEG as large as a camera's."""
    scale = LARGE / min(picture.size)
    return save_jpeg(picture.resize([round(scale * side) for side in picture.size], Image.Resampling.BICUBIC), name)


def save_turned(picture: Image.Image, name: Path) -> Path:
    """Writes a JPEG that lies on its side and says so, as phones do."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return save_jpeg(picture.transpose(Image.Transpose.ROTATE_90), name, exif=exif)


def save_png(picture: Image.Image, name: Path) -> Path:
    """Writes a PNG."""
    picture.save(name.with_suffix(".png"))
    return name.with_suffix(".png")


def save_deep(picture: Image.Image, name: Path) -> Path:
    """Writes a grey PNG of 16 bits."""
    return save_png(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257), name)


def cut_out(picture: Image.Image) -> Image.Image:
    """Returns the picture with black behind a transparent edge, as programs leave what they cut away."""
    width, height = picture.size
    alpha = Image.new("L", picture.size, 0)
    alpha.paste(255, (width // 4, height // 4, width - width // 4, height - height // 4))
    black = Image.new("RGB", picture.size)
    black.paste(picture, mask=alpha)
    black.putalpha(alpha)
    return black


def save_inks(picture: Image.Image, name: Path) -> Path:
    """Writes a JPEG of four inks without Adobe's mark."""
    file = save_jpeg(picture.convert("CMYK"), name)
    content = file.read_bytes()
    start = content.index(b"\xff\xee")  # the mark: its length follows
    file.write_bytes(content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :])
    return file


KINDS: dict[str, Callable[[Image.Image, Path], Path]] = {
    "PNG or JPEG of 8 bits": save_png,
    f"JPEG of {LARGE} pixels": save_large,
    "JPEG that its EXIF turns": save_turned,
    "JPEG of inks (CMYK) without Adobe's mark": save_inks,
    "PNG of 16 bits, grey": save_deep,
    "PNG with transparency": lambda picture, name: save_png(cut_out(picture), name),
    "PNG of a palette with transparency": lambda picture, name: save_png(cut_out(picture).quantize(64), name),
}


if __name__ == "__main__":
    sys.exit(main())
