"""From a run to the folder of its ONNX model, checked there before it is moved into place."""

import logging
from dataclasses import dataclass
from pathlib import Path

import onnx
from timm.data import resolve_input_data_config
from torch import Tensor

from multihot.decisions import Decisions
from multihot.errors import InputError, check_choice
from multihot.evaluation.predictions import hash_model
from multihot.export.onnx_build import add_metadata, build, describe_model
from multihot.export.onnx_check import check_answers, check_logits, check_photos, find_bound
from multihot.export.onnx_file import ONE_FILE, ONNX_MODEL, TRITON_MODEL, count_bytes, write_model
from multihot.export.onnx_model import ONNX_FOLDER, OnnxModel
from multihot.export.onnx_names import PIXELS
from multihot.export.onnx_sample import Sample
from multihot.export.onnx_trace import to_float16, trace, unfused_attention
from multihot.export.openvino import describe_for_openvino
from multihot.export.triton import CONFIG, VERSION, describe_for_triton, write_labels
from multihot.files import absolute, write_text
from multihot.model.saved import load_model
from multihot.ownership import Kind
from multihot.run.folder import Run

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "float16")
TRITON_FOLDER = "triton"  # in a run folder: a model repository


@dataclass(frozen=True)
class Place:
    """Where an exported model goes: a folder, and what it holds."""

    folder: Path
    kind: Kind

    @property
    def is_triton(self) -> bool:
        """Whether Triton shall serve it."""
        return self.kind is TRITON_MODEL


def choose_place(run: Run, out: str | None, triton: bool) -> Place:
    """Returns the folder of the exported model; in a model repository it has the name of the run.

    Args:
        out: the folder, or the model repository; None: one in the run folder.
    """
    folder = run.folder / (TRITON_FOLDER if triton else ONNX_FOLDER) if out is None else Path(absolute(out))
    return Place(folder / run.folder.absolute().name, TRITON_MODEL) if triton else Place(folder, ONNX_MODEL)


def check_precision(precision: str) -> None:
    """Raises InputError for a precision that onnxruntime does not compute in."""
    if precision in ("bf16", "bfloat16"):
        raise InputError(f"precision={precision}: onnxruntime has no kernels for bfloat16; take float16 or float32")
    check_choice("precision", precision, PRECISIONS)


def create_onnx(run: Run, decisions: Decisions, *, kind: str, precision: str) -> onnx.ModelProto:
    """Returns the best model of a run as ONNX, with what it is as its metadata.

    Args:
        kind: of its input, see `build`.
        precision: one of PRECISIONS.

    Raises:
        InputError: torch does not export it, or its preprocessing has no counterpart in ONNX.
    """
    with unfused_attention():
        model = load_model(run.best, decisions.space.labels).eval()
    preprocessing = resolve_input_data_config(model)
    log.info("tracing %s", type(model).__name__)
    traced = trace(model, preprocessing["input_size"])
    if precision == "float16":
        if count_bytes(traced) >= ONE_FILE:
            raise InputError("precision=float16: the conversion cannot hold more than 2 GB; take precision=float32")
        traced = to_float16(traced)
    result = build(traced, decisions, preprocessing, kind)
    architecture = model.pretrained_cfg.get("architecture") or type(model).__name__
    about = describe_model(decisions, preprocessing, kind, precision, architecture, hash_model(run.best))
    add_metadata(result, about | describe_for_openvino(decisions, preprocessing, kind))
    return result


def write_checked(
    model: onnx.ModelProto, place: Place, folder: Path, sample: Sample, logits: Tensor, decisions: Decisions,
    max_batch_size: int,
) -> None:  # fmt: skip
    """Fills an empty folder, and checks that what is in it answers as the run does.

    Args:
        logits: of the run's own model for the sample, float32 (N, C).
        max_batch_size: that Triton may put together.

    Raises:
        InputError: it answers otherwise.
    """
    inside = folder
    if place.is_triton:
        inside = folder / VERSION
        inside.mkdir()
        write_text(folder / CONFIG, describe_for_triton(model, place.folder.name, max_batch_size))
        write_labels(folder, decisions.space.labels)
    check(OnnxModel(write_model(model, inside)), sample, logits, decisions)


def check(model: OnnxModel, sample: Sample, logits: Tensor, decisions: Decisions) -> None:
    """Says by how much the answers differ; raises InputError if that is more than its bound."""
    bound = find_bound(logits, model.metadata["precision"], model.input)
    if model.input == "photo":
        differences = check_photos(model, sample.photos, logits, bound)
        answers = model.answer({PIXELS: sample.photos[0][None]})
    else:
        differences = check_logits(model, sample.pixels, logits, bound)
        answers = model.answer(model.feed(sample.pixels))
    probability = check_answers(answers, decisions)
    log.info(
        "logits differ by at most %s (bound %.1g); probabilities by %.1g; decisions are the same",
        ", ".join(f"{value:.1g} in batches of {size}" for size, value in differences.items()), bound, probability,
    )  # fmt: skip


def describe_size(folder: Path) -> str:
    """Returns the size of all files in a folder in words."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"
