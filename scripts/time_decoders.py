"""Prints how fast packages decode JPEGs beside this one, how far their pixels are from its, and what they refuse.

python scripts/time_decoders.py photos/*.jpg

Photos are cut, or laid side by side, to each of SIZES. Every decoder makes pixels uint8 (3, H, W) of the same files, in
turn, at full size, and with --min-side this package as for a transform that needs so many pixels; seconds are those of
the processor. A package that is not installed is left out.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multihot.cli import fail
from multihot.data.images import read_image
from multihot.data.pixels import read_pixels
from multihot.data.resize import to_pixels
from multihot.errors import InputError

SIZES = ((500, 375), (4000, 3000))  # width, height
QUALITY = 90
PIXELS_A_ROUND = 30_000_000  # so that a clock of a hundredth of a second does not matter
DAMAGE = 64  # bytes that are zero in the middle of a damaged file
REFUSALS = (OSError, ValueError, RuntimeError)  # InputError and what the packages raise


@dataclass(frozen=True)
class Decoder:
    """What makes pixels uint8 (3, H, W) of a file, and the package that does."""

    package: str
    decode: Callable[[str], object]
    makes_pixels: bool = True  # False: a part of the way, whose result is not compared

    @property
    def title(self) -> str:
        """The package and its version."""
        return f"{self.package.split()[0]} {version(self.package.split()[0])} {self.package.partition(' ')[2]}".strip()


def main() -> None:
    """Prints a table a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, help="photos")
    parser.add_argument("--min-side", type=int, help="pixels that a transform needs; the other packages are left out")
    parser.add_argument("--rounds", type=int, default=7, help="that are timed, after one that is not")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    decoders = list(find_own(arguments.min_side) if arguments.min_side else find_decoders())
    try:
        with TemporaryDirectory() as folder:
            for width, height in SIZES:
                files = write_photos(arguments.pictures, (width, height), Path(folder))
                print(
                    f"{width} x {height}, {np.mean([Path(file).stat().st_size for file in files]) / 1000:.0f} KB a file"
                )
                print_table(decoders, files, arguments.rounds)
    except InputError as error:
        fail(str(error))


def find_decoders() -> Iterator[Decoder]:
    """Yields this package's ways, then those of the packages that are installed."""
    yield from find_own()
    yield Decoder("pillow (not made an array)", read_image, makes_pixels=False)
    for create in (create_torchvision, create_torchcodec, create_simplejpeg, create_imagecodecs):
        try:
            yield from create()
        except ImportError as error:
            print(f"left out: {error}")


def find_own(min_side: int | None = None) -> Iterator[Decoder]:
    """Yields what this package does with a Pillow picture on the way, and without."""
    yield Decoder("pillow", lambda path: to_pixels(read_image(path, min_side)))
    yield Decoder("multihot", lambda path: read_pixels(path, min_side))


def create_torchvision() -> Iterator[Decoder]:
    """Yields torchvision's decoder."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    yield Decoder("torchvision", lambda path: decode_jpeg(read_file(path), ImageReadMode.RGB))


def create_torchcodec() -> Iterator[Decoder]:
    """Yields torchcodec's decoder."""
    from torchcodec.decoders import ImageReadMode, decode_jpeg

    yield Decoder("torchcodec", lambda path: decode_jpeg(path, mode=ImageReadMode.RGB))


def create_simplejpeg() -> Iterator[Decoder]:
    """Yields simplejpeg's decoder, and the one with its cheaper arithmetic."""
    from simplejpeg import decode_jpeg

    def decode(path: str, **options: bool) -> Tensor:
        return to_planes(decode_jpeg(Path(path).read_bytes(), **options))

    yield Decoder("simplejpeg", decode)
    yield Decoder("simplejpeg (fast)", lambda path: decode(path, fastdct=True, fastupsample=True))


def create_imagecodecs() -> Iterator[Decoder]:
    """Yields imagecodecs' decoder."""
    from imagecodecs import jpeg8_decode

    yield Decoder("imagecodecs", lambda path: to_planes(jpeg8_decode(Path(path).read_bytes())))


def to_planes(pixels: np.ndarray) -> Tensor:
    """Returns pixels (H, W, 3) as (3, H, W), not copied."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def write_photos(pictures: list[Path], size: tuple[int, int], folder: Path) -> list[str]:
    """Writes a JPEG of a size for each picture; returns the files."""
    files = [str(folder / f"{size[0]}-{number}.jpg") for number in range(len(pictures))]
    for picture, file in zip(pictures, files, strict=True):
        fill(read_image(str(picture)), size).save(file, quality=QUALITY)
    return files


def fill(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns a picture of a size [width, height] with all the detail of a photo: repeated where it is too small."""
    width, height = size
    times = -(-height // picture.height), -(-width // picture.width), 1
    return Image.fromarray(np.tile(np.asarray(picture), times)[:height, :width])


def print_table(decoders: list[Decoder], files: list[str], num_rounds: int) -> None:
    """Prints a row a decoder; the first is what the others are measured by."""
    print(
        "| | images a second of the processor | times | largest difference | pixels that differ | cut short | damaged |"
    )
    print("|---|---|---|---|---|---|---|")
    seconds = time_in_turn(decoders, files, num_rounds)
    for decoder, own in zip(decoders, seconds, strict=True):
        ratios = sorted(first / other for first, other in zip(seconds[0], own, strict=True))
        speed = f"{1 / median(own):.1f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        if not decoder.makes_pixels:
            print(f"| {decoder.title} | {speed} | | | | |", flush=True)
            continue
        largest, share = compare(decoder.decode, decoders[0].decode, files)
        answers = [answer(decoder.decode, file) for file in break_file(Path(files[0]))]
        print(f"| {decoder.title} | {speed} | {largest} | {100 * share:.1f}% | {' | '.join(answers)} |", flush=True)


def time_in_turn(decoders: list[Decoder], files: list[str], num_rounds: int) -> list[list[float]]:
    """Returns the seconds of the processor that each decoder takes for a file, in each round."""
    with Image.open(files[0]) as image:
        repeat = max(1, round(PIXELS_A_ROUND / (image.width * image.height) / len(files)))
    seconds = [[] for _ in decoders]
    for number in range(num_rounds + 1):
        for own, decoder in zip(seconds, decoders, strict=True):
            start = time.process_time()
            for file in files * repeat:
                decoder.decode(file)
            if number:
                own.append((time.process_time() - start) / repeat / len(files))
    return seconds


def compare(decode: Callable[[str], Tensor], reference: Callable[[str], Tensor], files: list[str]) -> tuple[int, float]:
    """Returns the largest difference in grey levels and the share of pixels, with any colour of theirs, that differ."""
    differences = [(decode(file).int() - reference(file).int()).abs().amax(0) for file in files]
    different = sum((difference > 0).sum().item() for difference in differences)
    return max(difference.max().item() for difference in differences), different / sum(map(Tensor.numel, differences))


def break_file(file: Path) -> tuple[str, str]:
    """Writes a file that ends in the middle, and one that is damaged there; returns both."""
    content = file.read_bytes()
    middle = len(content) // 2
    cut, damaged = file.with_suffix(".cut.jpg"), file.with_suffix(".damaged.jpg")
    cut.write_bytes(content[:middle])
    damaged.write_bytes(content[:middle] + bytes(DAMAGE) + content[middle + DAMAGE :])
    return str(cut), str(damaged)


def answer(decode: Callable[[str], Tensor], file: str) -> str:
    """Returns what a decoder does with a broken file."""
    try:
        decode(file)
    except REFUSALS:
        return "refused"
    return "decoded"


if __name__ == "__main__":
    sys.exit(main())
