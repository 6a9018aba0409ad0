"""Answers for images, from the folder that this file is in; Hugging Face's inference endpoints call it.

    from handler import EndpointHandler
    EndpointHandler("<folder>")({"inputs": "<an image in base64>"})

Needs torch, torchvision, timm and Pillow. Logits, probabilities, thresholds and decisions are those of the model's own
evaluation in float32; what is decoded otherwise there (more than 8 bits, TIFF, CMYK) is refused.
"""

import base64
import binascii
import json
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from timm.data import create_transform, resolve_data_config
from torchvision.transforms import InterpolationMode, Resize
from torchvision.transforms.v2 import functional

TURNS = {  # of EXIF orientations
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
NATIVE = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)  # that torchvision resizes uint8 pixels by
SPARE_SCALE = 2  # a JPEG that is larger by this factor than needed is decoded at a half, a quarter or an eighth
WIDEST = 50  # longer side to shorter; of a picture beyond, the middle is taken
MOST_PIXELS = 89_478_485


class EndpointHandler:
    """Gives for {"inputs": an image, or a list of them} one record, or a list: labels that hold, and all scores.

    An image is one of Pillow's, its bytes, or these in base64, also as a data: URI. With
    {"parameters": {"top_k": 5}} the five labels of the highest probabilities have a score.
    """

    def __init__(self, path: str = ""):
        folder = Path(path)
        self.decisions = json.loads((folder / "decisions.json").read_text(encoding="utf-8"))
        self.labels = self.decisions["label_space"]["labels"]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(folder, self.labels).eval().to(self.device)
        self.config = resolve_data_config(model=self.model)
        self.steps = create_transform(**self.config, is_training=False, use_prefetcher=True).transforms

    def __call__(self, data: dict) -> dict | list[dict]:
        """Returns the record of an image, or the records of a list of them."""
        inputs = data["inputs"]
        top_k = (data.get("parameters") or {}).get("top_k")
        images = inputs if isinstance(inputs, list) else [inputs]
        records = [self.answer(image, top_k) for image in images]
        return records if isinstance(inputs, list) else records[0]

    def answer(self, image: object, top_k: int | None = None) -> dict:
        """Returns what holds for an image and every score, or why it cannot be read."""
        try:
            pixels = self.prepare(decode(image, self.needed_side()))
        except (ValueError, TypeError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            return {"image": "", "labels": [], "scores": [], "error": str(error) or type(error).__name__}
        return self.describe(self.logits(pixels[None])[0], top_k)

    def needed_side(self) -> int | None:
        """Returns the shorter side, in pixels, that a picture must have so that the first step does not enlarge it."""
        first = self.steps[0]
        if not isinstance(first, Resize):
            return None
        return first.size if isinstance(first.size, int) else max(first.size)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Returns the pixels that the model sees, uint8 (3, H, W)."""
        first, *others = self.steps
        if type(first) is Resize and first.interpolation in NATIVE:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            one_side = isinstance(first.size, int)
            size = [first.size] if one_side else list(first.size)
            pixels = take_middle(pixels) if one_side else pixels
            picture = functional.resize(pixels, size, first.interpolation, antialias=True)
        else:
            picture = first(image)
        for step in others:
            picture = step(picture)
        return torch.as_tensor(np.asarray(picture))

    @torch.inference_mode()
    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """Returns the logits float32 (B, C) of pixels uint8 (B, 3, H, W)."""
        mean, std = (255 * torch.tensor(self.config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        images = (pixels.float() - mean) * (1 / std)
        return self.model(images.to(self.device)).float().cpu().numpy()

    def describe(self, logits: np.ndarray, top_k: int | None = None) -> dict:
        """Returns which labels hold and each label's scores, the likeliest first: logits float32 (C,)."""
        probability, predicted = self.probability(logits), self.decide(logits)
        order = np.argsort(-probability, kind="stable")[:top_k]
        scores = [
            {
                "label": self.labels[column],
                "probability": float(str(probability[column])),  # the shortest number of this float32
                "logit": float(str(logits[column])),
                "threshold": self.decisions["thresholds"][column],
                "predicted": bool(predicted[column]),
            }
            for column in order
        ]
        holding = [self.labels[column] for column in np.flatnonzero(predicted)]
        return {"image": "", "labels": holding, "scores": scores, "error": None}

    def groups(self) -> list[tuple[list[int], bool]]:
        """Returns columns, and whether none of them may hold, of each group of labels that exclude each other."""
        place = {label: column for column, label in enumerate(self.labels)}
        groups = self.decisions["label_space"]["groups"].values()
        return [([place[label] for label in group["labels"]], group["none"]) for group in groups]

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """Returns which labels hold, bool (C,): above the label's cut, or the largest of its group."""
        cuts = np.array([np.nan if cut is None else cut for cut in self.decisions["cuts"]], np.float32)
        predicted = logits > cuts
        for columns, none in self.groups():
            inside = np.append(logits[columns], np.zeros(int(none), np.float32))
            predicted[columns] = np.arange(len(columns)) == inside.argmax()
        return predicted

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Returns calibrated probabilities float32 (C,); inside a group they are a softmax."""
        calibration = self.decisions["calibration"]
        log_odds = logits.astype(np.float64)
        for column, fitted in enumerate(calibration["labels"]):
            if fitted is not None:
                log_odds[column] = calibrate(log_odds[column], fitted, calibration["kind"])
        result = torch.sigmoid(torch.from_numpy(log_odds)).numpy()
        for (columns, none), temperature in zip(self.groups(), calibration["temperatures"], strict=True):
            inside = np.append(logits[columns].astype(np.float64) / temperature, np.zeros(int(none)))
            odds = np.exp(inside - inside.max())
            result[columns] = (odds / odds.sum())[: len(columns)]
        return result.astype(np.float32)


def load_model(folder: Path, labels: list[str]) -> torch.nn.Module:
    """Returns the timm model of a folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("head") is None:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    try:
        from multihot.model.saved import load_model as load_any_head
    except ImportError as error:
        raise ImportError(f"the head {config['head']} is not timm's: it needs the package multihot") from error
    return load_any_head(folder, tuple(labels))


def calibrate(logit: float, fitted: list | dict, kind: str) -> float:
    """Returns the log-odds of a logit: on steps of an isotonic regression, or by slopes and an intercept."""
    if isinstance(fitted, dict):
        return fitted["log_odds"][max(np.searchsorted(fitted["logits"], logit, side="right") - 1, 0)]
    columns = [np.logaddexp(0, logit), -np.logaddexp(0, -logit)] if kind == "beta" else [logit]
    return np.dot(fitted[:-1], columns) + fitted[-1]


def decode(image: Image.Image | bytes | str, min_side: int | None) -> Image.Image:
    """Returns a picture as RGB, upright, transparency on white; raises ValueError or OSError if it cannot be."""
    if isinstance(image, str):
        try:
            image = base64.b64decode(image.rpartition("base64,")[2], validate=True)
        except binascii.Error as error:
            raise ValueError(f"a text must be an image in base64: {error}") from error
    if not isinstance(image, Image.Image | bytes):
        raise TypeError(f"an image is one of Pillow's, bytes, or these in base64, not {type(image).__name__}")
    if isinstance(image, bytes):
        try:
            image = Image.open(BytesIO(image))
        except UnidentifiedImageError as error:
            raise ValueError("it is no image that Pillow knows") from error
        check(image)
        shorter = min(image.size)
        scale = next((scale for scale in (8, 4, 2) if min_side and shorter // scale >= SPARE_SCALE * min_side), None)
        if scale is not None:
            image.draft(None, (image.width // scale, image.height // scale))  # of a JPEG alone
    picture = turn_upright(image)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def check(image: Image.Image) -> None:
    """Raises ValueError for an open image that is too large, or that the model's evaluation decodes otherwise."""
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"the image has more than {MOST_PIXELS} pixels")
    is_deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile) for tile in image.tile)
    if image.format not in FORMATS or image.mode == "CMYK" or is_deep:
        raise ValueError(
            f"the image is {image.format} of mode {image.mode}: convert it to RGB with 8 bits as JPEG or PNG"
        )


def turn_upright(image: Image.Image) -> Image.Image:
    """Returns an image as its EXIF orientation wants it shown; one whose EXIF cannot be read as it is."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        turn = None
    image.load()
    return image if turn is None else image.transpose(turn)


def take_middle(pixels: torch.Tensor) -> torch.Tensor:
    """Returns the middle of pixels (3, H, W) that are more than WIDEST times as long as wide."""
    height, width = pixels.shape[1:]
    most = WIDEST * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return pixels[:, top : top + most, left : left + most]
