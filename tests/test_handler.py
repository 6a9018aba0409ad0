"""handler.py, which answers where this package is not: as the evaluation does, to the last digit."""

import base64
import importlib.util
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL_DIGITS, train_as_told
from PIL import Image
from safetensors.torch import load_file

from multihot.data.images import decode_image
from multihot.decisions import Decisions, fit_decisions
from multihot.decisions.aims import MacroF1
from multihot.evaluation.predictions import Predictions
from multihot.export.bundle import write_bundle
from multihot.labels import Group, LabelSpace
from multihot.prediction.answers import Describer
from multihot.prediction.predictor import open_predictor
from multihot.run.folder import load_run

CHOICES = {"repo": "someone/digits", "license": "mit", "data_name": None, "base_model": None, "onnx": False}


def open_handler(folder: Path):
    """Returns the handler of a folder, loaded as the endpoints do."""
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run, its settings and its labels."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a")
    return load_run(str(folder / "a"), changes={})


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    """The folder for the hub."""
    folder = tmp_path_factory.mktemp("hub") / "out"
    write_bundle(folder, *run, CHOICES)
    return folder


def draw(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Returns a picture of noise in coarse squares."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (9, 7, 4), np.uint8)).resize(size).convert(mode)


def save(picture: Image.Image, kind: str, **options) -> bytes:
    """Returns the bytes of a picture's file."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    """Returns a JPEG that its EXIF turns."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(draw((60, 40)), "JPEG", exif=exif)


PICTURES = {
    "jpeg": save(draw((60, 40)), "JPEG"),
    "large jpeg": save(draw((400, 300)), "JPEG"),
    "grey": save(draw((60, 40), "L"), "PNG"),
    "transparent": save(draw((60, 40), "RGBA"), "PNG"),
    "palette": save(draw((60, 40)).quantize(8), "PNG", transparency=3),
    "thin": save(draw((2000, 6)), "PNG"),
    "tiny": save(draw((1, 1)), "PNG"),
    "gif": save(draw((60, 40), "P"), "GIF"),
    "webp": save(draw((60, 40), "RGBA"), "WEBP", lossless=True),
    **{f"turned {orientation}": turned(orientation) for orientation in range(1, 9)},
}


def test_answers_are_those_of_predict_to_the_last_digit(run, bundle):
    handler = open_handler(bundle)
    answers = handler({"inputs": list(PICTURES.values())})
    with open_predictor(*run) as predictor:
        for answer, (name, content) in zip(answers, PICTURES.items(), strict=True):
            picture = decode_image(BytesIO(content), name, predictor.min_side)
            pixels = torch.from_numpy(predictor.prepare(picture))
            assert torch.equal(handler.prepare(handler_decode(handler, content)), pixels), name
            [expected] = Describer(predictor.decisions).describe([""], predictor.logits(pixels[None]))
            assert answer == expected, name


@pytest.mark.parametrize("overrides", [("head=csra",), ("head=two_logit",), ("experiment=digits_single_label",)])
def test_other_heads_and_one_label_an_image_are_answered_too(tmp_path, overrides):
    train_as_told(*SMALL_DIGITS, f"runs_folder={tmp_path}", "name=a", *overrides)
    run = load_run(str(tmp_path / "a"), changes={})
    write_bundle(tmp_path / "hub", *run, CHOICES)
    handler, content = open_handler(tmp_path / "hub"), PICTURES["jpeg"]
    with open_predictor(*run) as predictor:
        pixels = torch.from_numpy(predictor.prepare(decode_image(BytesIO(content), "", predictor.min_side)))
        [expected] = Describer(predictor.decisions).describe([""], predictor.logits(pixels[None]))
    answer = handler({"inputs": content})
    assert answer["labels"] == expected["labels"]
    for ours, theirs in zip(answer["scores"], expected["scores"], strict=True):
        assert ours["probability"] == pytest.approx(theirs["probability"], rel=2e-7)
        assert ours | {"probability": 0} == theirs | {"probability": 0}


def handler_decode(handler, content: bytes) -> Image.Image:
    """Returns what the handler's own decoder gives."""
    return type(handler).__init__.__globals__["decode"](content, handler.needed_side())


def test_an_image_may_come_as_bytes_base64_data_uri_or_picture(bundle):
    handler, content = open_handler(bundle), PICTURES["jpeg"]
    text = base64.b64encode(content).decode()
    forms = [content, text, f"data:image/jpeg;base64,{text}", Image.open(BytesIO(content)).convert("RGB")]
    answers = handler({"inputs": forms, "parameters": {"top_k": 2}})
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]["scores"]) == 2
    assert handler({"inputs": text, "parameters": {"top_k": 2}}) == answers[0]
    json.dumps(answers)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (save(Image.fromarray(np.full((9, 9), 40000, np.uint16)), "PNG"), "PNG of mode I;16: convert it"),
        (save(draw((9, 9)).convert("CMYK"), "JPEG"), "JPEG of mode CMYK"),
        (save(draw((9, 9)), "TIFF"), "TIFF of mode RGB"),
        (PICTURES["jpeg"][:200], "runcated"),
        (b"no picture", "no image that Pillow knows"),
        ("no base64!", "must be an image in base64"),
        (None, "not NoneType"),
    ],
)
def test_what_it_cannot_read_as_we_do_is_refused_with_the_reason(bundle, content, words):
    [answer, other] = open_handler(bundle)({"inputs": [content, PICTURES["jpeg"]]})
    assert words in answer["error"]
    assert answer["labels"] == answer["scores"] == []
    assert other["error"] is None


SPACES = {
    "independent": LabelSpace(("a", "b", "c", "d", "e")),
    "grouped": LabelSpace(("a", "b", "c", "d", "e"), (Group("x", ("b", "d")), Group("y", ("a", "e"), none=True))),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic", "none"])
def test_fitted_decisions_are_those_of_the_handler(bundle, space, kind):
    if kind == "isotonic" and space.groups:
        pytest.skip("one case of it will do")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1500, 5, generator=generator) * 2
    target = (torch.rand(1500, 5, generator=generator) < torch.sigmoid(2 * logits - 1)).to(torch.int8)
    for columns in space.columns:
        target[:, columns] = torch.nn.functional.one_hot(logits[:, columns].argmax(1), len(columns)).to(torch.int8)
    predictions = Predictions(logits, target, space=space)
    decisions = fit_decisions(predictions, space, MacroF1(beta=1.0), per_label=True, calibration=kind)
    handler = open_handler(bundle)
    handler.decisions, handler.labels = json.loads(json.dumps(decisions.to_config())), list(space.labels)
    on_the_cut = torch.where(decisions.cuts.isnan(), 0, decisions.cuts)[None]
    probed = torch.cat([logits[:200], on_the_cut])
    for row, expected in zip(probed, Describer(decisions).describe([""] * 201, probed), strict=True):
        answer = handler.describe(row.numpy())
        assert answer["labels"] == expected["labels"]
        ours, theirs = ({one["label"]: one for one in record["scores"]} for record in (answer, expected))
        for label in space.labels:
            assert ours[label]["probability"] == pytest.approx(theirs[label]["probability"], rel=2e-7)
            assert ours[label] | {"probability": 0} == theirs[label] | {"probability": 0}
    assert Decisions.from_config(handler.decisions).sha256 == decisions.sha256


def test_the_weights_are_no_pickle(bundle):
    assert not {path.suffix for path in bundle.iterdir()} & {".bin", ".pkl", ".pt", ".pth", ".ckpt"}
    assert load_file(bundle / "model.safetensors")
