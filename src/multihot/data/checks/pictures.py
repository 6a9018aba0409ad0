"""Whether anything can be seen on the pictures: their brightness once decoded, and what evaluation cuts off."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from multihot.data.manifest import Manifest
from multihot.data.value_range import RangedReader, suggest_range
from multihot.errors import InputError

log = logging.getLogger(__name__)

OUTLIERS = 0.001  # share of the pixels at either end of the brightness that do not count: a hot pixel, a speck
DARK, BRIGHT = 64, 191  # of 255: nothing of the picture is brighter, or darker
DARK_FAULT = "nearly black"
FEW_LEVELS = 16  # grey levels between the darkest and the brightest
CONSTANT = 2  # grey levels: a picture of one colour, which is its own
NUM_LOOKED_AT = 16  # pictures, spread over the data, before a training or an evaluation
FAINT_SHARE = 0.25  # of them, from which on there is a warning
SMALL_SIDE = 64  # pixels that are enough to judge by
MOST_LOST = 0.5  # share of a picture's area that evaluation may cut off without a word
USUAL_CROP = {"input_size": (3, 224, 224), "crop_pct": 0.9, "crop_mode": "center"}  # timm's, of most models
SHOW_ALL = "'+model.kwargs.pretrained_cfg_overlay={crop_pct: 1.0, crop_mode: squash}'"


@dataclass(frozen=True, slots=True)
class Look:
    """What a decoded picture looks like."""

    size: tuple[int, int]  # pixels, width and height; of a large JPEG a part of them
    darkest: int  # grey level of 255, outliers left out
    brightest: int
    stored_range: tuple[float, float] | None  # of the file's values, if they have more than 8 bits
    shown_range: tuple[float, float] | None  # which of them are black and white

    @classmethod
    def at(cls, picture: Image.Image) -> "Look":
        """Returns the look of an RGB picture."""
        grey = np.cumsum(picture.convert("L").histogram())
        darkest = int(np.searchsorted(grey, OUTLIERS * grey[-1], side="right"))
        brightest = int(np.searchsorted(grey, (1 - OUTLIERS) * grey[-1]))
        ranges = (picture.info.get(name) for name in ("stored_range", "shown_range"))
        return cls(picture.size, darkest, brightest, *ranges)

    @property
    def fault(self) -> str | None:
        """What hides the picture; None: nothing.

        >>> Look((8, 8), 0, 15, None, None).fault, Look((8, 8), 120, 130, None, None).fault
        ('nearly black', 'of few grey levels')
        """
        if self.brightest < DARK:
            return DARK_FAULT
        if self.darkest > BRIGHT:
            return "nearly white"
        return "of few grey levels" if CONSTANT < self.brightest - self.darkest < FEW_LEVELS else None

    @property
    def highest(self) -> float:
        """The largest of the file's values, outliers left out where they make the picture dark."""
        black, white = self.shown_range
        return min(self.stored_range[1], black + (self.brightest + 1) / 256 * (white - black + 1) - 1)

    def brightness_in_words(self) -> str:
        """Returns the brightness in words, and the values behind it."""
        shown = f"{self.fault}: {self.darkest} to {self.brightest} of 255"
        if self.stored_range is None:
            return shown
        stored, (black, white) = "from {:.6g} to {:.6g}".format(*self.stored_range), self.shown_range
        return f"{shown}; its values go {stored}, {black:.6g} is shown as black and {white:.6g} as white"


def find_better_range(looks: Sequence[Look]) -> str | None:
    """Returns the setting that would show pictures with more than 8 bits better; None: they are shown well."""
    deep = [look for look in looks if look.stored_range is not None]
    if not deep:
        return None
    low = min(look.stored_range[0] for look in deep)
    high = max(look.highest if look.fault == DARK_FAULT else look.stored_range[1] for look in deep)
    black, white = deep[0].shown_range
    is_dim = high < black + (white - black) / 2
    if not is_dim and sum(look.fault is not None for look in deep) < FAINT_SHARE * len(deep):
        return None
    better = suggest_range(low, high)
    return better if better != f"data.value_range=[{black:.6g},{white:.10g}]" else None


def lost_share(size: tuple[int, int], preprocessing: Mapping) -> float:
    """Returns the share of a picture's area that evaluation never shows.

    >>> [round(lost_share(size, USUAL_CROP), 2) for size in ((400, 300), (1920, 1080), (1600, 400))]
    [0.39, 0.54, 0.8]
    >>> lost_share((1600, 400), {**USUAL_CROP, "crop_pct": 1.0, "crop_mode": "squash"})
    0.0
    """
    width, height = size
    _, seen_height, seen_width = preprocessing["input_size"]
    wanted_width, wanted_height = seen_width / preprocessing["crop_pct"], seen_height / preprocessing["crop_pct"]
    if preprocessing["crop_mode"] != "squash":  # center: the shorter side fits; border: the longer one
        ratios = wanted_width / width, wanted_height / height
        ratio = max(ratios) if preprocessing["crop_mode"] == "center" else min(ratios)
        wanted_width, wanted_height = ratio * width, ratio * height
    return 1 - min(1.0, seen_width / wanted_width) * min(1.0, seen_height / wanted_height)


def warn_of_pictures(manifest: Manifest, preprocessing: Mapping) -> None:
    """Warns, before a training or an evaluation, if little can be seen of some of its pictures.

    Args:
        preprocessing: the model's own, from `timm.data.resolve_input_data_config`.
    """
    looks = look_at_some(manifest)
    better = find_better_range(list(looks.values()))
    is_chosen = better is None and isinstance(manifest.read, RangedReader)  # by someone who has seen what comes of it
    faint = {
        image: look
        for image, look in looks.items()
        if look.fault is not None and not (is_chosen and look.stored_range is not None)
    }
    is_hidden = better is not None and any(look.stored_range is not None for look in faint.values())
    if faint and (is_hidden or len(faint) >= FAINT_SHARE * len(looks)):
        image, look = next(iter(faint.items()))
        log.warning(
            "%d of %d pictures that were looked at are nearly black, nearly white or of few grey levels (%s: %s). %s",
            len(faint), len(looks), image, look.brightness_in_words(),
            f"Set {better}" if better else "If they are meant so, all is well; scripts/validate_data.py lists them",
        )  # fmt: skip
    lost = {image: lost_share(look.size, preprocessing) for image, look in looks.items()}
    if lost and statistics.median(lost.values()) > MOST_LOST:
        worst = max(lost, key=lost.get)
        log.warning(
            "evaluation cuts the centre out of the pictures: %.0f%% of their area, in the median, is never seen "
            "(%.0f%% of %s). %s shows all",
            100 * statistics.median(lost.values()), 100 * lost[worst], worst, SHOW_ALL,
        )  # fmt: skip


def look_at_some(manifest: Manifest) -> dict[str, Look]:
    """Returns the looks of some images, evenly spread; one that cannot be read is named when it is met."""
    looks = {}
    some = manifest.thin_out(NUM_LOOKED_AT)
    for image in some.images:
        try:
            looks[image] = Look.at(some.read(image, min_side=SMALL_SIDE))
        except InputError:
            continue
    return looks
