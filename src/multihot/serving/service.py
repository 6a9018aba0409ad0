"""From the bytes of an image to its record: decoded by several threads, answered by those of the model."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multihot.data.images import decode_image
from multihot.data.value_range import ValueRange
from multihot.errors import InputError
from multihot.model.pieces import PIECE
from multihot.prediction.answers import Describer, refuse
from multihot.prediction.predictor import Predictor
from multihot.serving.batching import Batcher
from multihot.serving.bodies import Upload
from multihot.serving.rows import pad_rows

log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8)  # of batches that are tried
Explain = Callable[[Image.Image, int], Image.Image]  # (picture, label) -> where that is seen in it


def compute_on(num_cores: int = 1) -> None:
    """Has this thread divide its operations among so many cores."""
    torch.get_num_threads()  # else its first operation takes over what another thread has set meanwhile
    torch.set_num_threads(num_cores)


class Cores:
    """The cores of a CPU, shared among the threads that run the model.

    The first of them has all cores while it is alone. The others have one each, always: as soon as operations of a
    second thread are divided too, OpenMP puts all helpers to sleep between operations, and one image takes twice as
    long. For the same reason no other thread of the process may divide its operations.
    """

    def __init__(self, number: int):
        self.number, self.num_busy, self.counting = number, 0, Lock()

    @classmethod
    def take(cls) -> "Cores":
        """Returns the cores that torch divides operations among; from now on this thread computes alone."""
        number = torch.get_num_threads()
        compute_on(1)
        return cls(number)

    @contextmanager
    def share(self, thread: int) -> Iterator[None]:
        """Lets a thread compute with its share.

        Args:
            thread: its number among those that run the model.
        """
        with self.counting:
            self.num_busy += 1
            compute_on(1 if thread else max(1, self.number // self.num_busy))
        try:
            yield
        finally:
            with self.counting:
                self.num_busy -= 1


class Service:
    """Answers images by the model of a run."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        cores: Cores,
        batch_size: int,
        num_threads: int,
        value_range: ValueRange = None,
        load_explainer: Callable[[], Explain] | None = None,
    ):
        """Starts the threads.

        Args:
            cores: taken before the model was built.
            num_threads: that decode images.
            value_range: of the run's data, see `decode_image`.
            load_explainer: called when the first saliency is asked for; None: there is none.
        """
        if predictor.model is not None:
            pad_rows(predictor.model)
        self.predictor = predictor
        self.describer = Describer(predictor.decisions)
        self.value_range = value_range
        self.load_explainer = load_explainer
        self.explain: Explain | None = None
        self.least = 1  # images of a batch
        self.cores = cores
        if predictor.accelerator.device.type == "cpu":
            self.batcher = Batcher(self.compute, min(batch_size, PIECE), cores.number)
        else:
            self.batcher = Batcher(self.compute, batch_size)
        self.decoders = ThreadPoolExecutor(num_threads, "decode", compute_on)
        self.explainers = ThreadPoolExecutor(1, "saliency", compute_on)

    def compute(self, pixels: list[np.ndarray], thread: int) -> Tensor:
        """Returns logits float32 (B, C) of pixels (3, H, W); a batch that is too small is filled up, see `warm_up`.

        Args:
            thread: the number of this one among those of the model.
        """
        filling = [pixels[0]] * (self.least - len(pixels))
        with self.cores.share(thread):
            return self.predictor.logits(torch.from_numpy(np.stack(pixels + filling)))[: len(pixels)]

    def warm_up(self, exact: bool = True) -> None:
        """Computes batches of several sizes, because the first of any size is slow.

        Args:
            exact: finds from which size on an image has the logits of a full batch to the last bit, as evaluate.py has
                them, and fills smaller ones up to it (on CPUs that is mostly 1); and whether they depend on the cores.
        """
        shape = self.predictor.prepare(Image.new("RGB", (640, 480))).shape
        full = list(np.random.default_rng(0).integers(256, size=(self.batcher.batch_size, *shape), dtype=np.uint8))
        compute, last = self.batcher.compute_now, len(self.batcher.threads) - 1
        wanted = compute(full)
        if not torch.equal(compute(full, last), wanted) and exact:
            log.info("a batch is computed on one core, so that logits do not depend on what else is computed")
            self.cores.number, wanted = 1, compute(full, last)
        sizes = [size for size in SIZES if size < len(full)]
        others = [size for size in sizes if not torch.equal(compute(full[:size]), wanted[:size])]
        if exact and others:
            self.least = next((size for size in sizes if size > others[-1]), len(full))
            log.info("batches are filled up to %d images, so that logits do not depend on their size", self.least)

    async def answer(self, uploads: Sequence[Upload], top_k: int | None) -> bytes:
        """Returns the records of images as JSON, in their order; one that cannot be read has an error in its own."""
        found = await asyncio.gather(*map(self.find_logits, uploads))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.decoders, self.write, uploads, found, top_k)

    async def find_logits(self, upload: Upload) -> Tensor | str:
        """Returns the logits (C,) of an image, or why it cannot be read."""
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self.decoders, self.prepare, upload)
        return pixels if isinstance(pixels, str) else await asyncio.wrap_future(self.batcher.submit(pixels))

    def prepare(self, upload: Upload) -> np.ndarray | str:
        """Returns the pixels (3, H, W) of an image, or why it cannot be read."""
        try:
            return self.predictor.prepare(self.read(upload, self.predictor.decode, self.predictor.min_side))
        except InputError as error:
            return str(error)

    def read(
        self, upload: Upload, decode: Callable[..., Image.Image | Tensor], min_side: int | None = None
    ) -> Image.Image | Tensor:
        """Returns what `decode` makes of an image; raises InputError if it cannot be read."""
        if upload.content is None:
            raise InputError(f"cannot read the image {upload.name}: {upload.error}")
        return decode(BytesIO(upload.content), upload.name, min_side, self.value_range)

    def write(self, uploads: Sequence[Upload], found: Sequence[Tensor | str], top_k: int | None) -> bytes:
        """Returns records as JSON."""
        records = [self.describe(upload.name, each, top_k) for upload, each in zip(uploads, found, strict=True)]
        return json.dumps({"images": records}).encode()

    def describe(self, name: str, found: Tensor | str, top_k: int | None) -> dict:
        """Returns the record of an image, from its logits (C,) or the reason why there are none."""
        if isinstance(found, str):
            return refuse(name, found)
        try:
            return self.describer.describe([name], found[None], top_k)[0]
        except InputError as error:  # a logit is not finite
            return refuse(name, str(error))

    async def show(self, upload: Upload, label: str) -> bytes:
        """Returns a JPEG of the part of an image that the model sees, coloured where it speaks for a label.

        Raises:
            InputError: there is no such label, the image cannot be read, or the model has no saliency.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.explainers, self.draw, upload, label)

    def draw(self, upload: Upload, label: str) -> bytes:
        """Returns what `show` does; one picture at a time, because the model is changed meanwhile."""
        if label not in self.predictor.labels:
            raise InputError(f"there is no label {label!r}: /labels has those that there are")
        picture = self.read(upload, decode_image)
        if self.load_explainer is None:
            raise InputError("saliency=false: this server shows none")
        if self.explain is None:
            self.explain = self.load_explainer()
        file = BytesIO()
        self.explain(picture, self.predictor.labels.index(label)).save(file, "JPEG", quality=90)
        return file.getvalue()

    def close(self) -> None:
        """Ends the threads when they have done what they were given."""
        for part in (self.decoders, self.batcher, self.explainers):
            part.close() if isinstance(part, Batcher) else part.shutdown()


@contextmanager
def limiting_pixels(number: int) -> Iterator[None]:
    """Has pictures of more pixels refused before they are decoded, as long as it is open."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, number
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
