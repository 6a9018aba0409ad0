"""The same photos by every way out of a run; docs/routes.md is the table of the largest differences.

ROUTES=docs/routes.md python -m pytest tests/test_routes.py writes the table, of all rows; without it some are checked.
"""

import asyncio
import importlib.util
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import REPO, compose_config, load_script
from PIL import Image
from scipy.special import logit

from multihot.evaluation.predictions import Predictions
from multihot.run.folder import Run

TABLE = REPO / "docs/routes.md"
HEADS = ("linear", "two_logit", "csra", "ml_decoder", "query2label")
LABELS = ("red", "green", "blue", "light", "dark")
SPACES = {
    "independent": ["data.labels=[red,green,blue,light,dark]"],
    "a group": ["data.labels=[red,green,blue,light,dark]", "data.groups={colour: {labels: [red, green, blue]}}"],
    "one label": ["data.labels=[red,green,blue]", "single_label=true", "loss=cross_entropy", "monitor=val/accuracy"],
}
CHECKED = [("linear", "independent"), ("query2label", "a group")]
ALL = [(head, space) for head in HEADS for space in SPACES]
ROUTES = (
    "predict.py", "timm", "transformers", "pipeline", "ONNX, 1", "ONNX, 2", "ONNX, 3", "ONNX, all", "Triton",
    "server", "handler.py",
)  # fmt: skip
SLACK = 5  # times the difference in the table that another chip may have
LEAST = 1e-5  # below which all differences are rounding


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_main(name: str, *overrides: str) -> None:
    """Runs a script of scripts/ in this process."""
    load_script(f"scripts/{name}").main.__wrapped__(compose_config(name, list(overrides)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """60 photos of one colour each, light above or below, as PNG and JPEG, with two tables of their labels."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = {"several": [], "one": []}
    for number in range(60):
        colour, is_light = generator.integers(3), generator.integers(2)
        height, width = ((90, 64), (64, 90), (72, 72))[number % 3]
        pixels = np.linspace(0, 80, height)[:, None, None] + np.zeros((height, width, 3))
        pixels[..., colour] += 60 + 60 * is_light + generator.uniform(-20, 20)
        name = f"{number:02}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        split = ("train", "train", "val", "test")[number % 4]
        rows["several"].append(f"{name},{LABELS[colour]} {LABELS[3 + (1 - is_light)]},{split}")
        rows["one"].append(f"{name},{LABELS[colour]},{split}")
    for table, lines in rows.items():
        (folder / f"{table}.csv").write_text("\n".join(["image,labels,split", *lines]) + "\n")
    return folder


@pytest.fixture
def trained(tmp_path, train, evaluate, photos):
    """trained(head, space): a run on the photos, its test split evaluated."""

    def create(head: str, space: str) -> Run:
        table = photos / ("one.csv" if space == "one label" else "several.csv")
        train(
            "name=a", f"head={head}", "data=csv", f"data.path={table}", "decisions=micro_f1", "start=random",
            "optimizer.lr=3e-3", *SPACES[space],
        )  # fmt: skip
        evaluate(f"run={tmp_path}/a", "split=test", "batch_size=16")
        return Run(tmp_path / "a")

    return create


def read_pixels(model, images: list[str]) -> torch.Tensor:
    """Returns what timm's own transform gives a model of image files, float (N, 3, H, W)."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    return torch.stack([transform(Image.open(image).convert("RGB")) for image in images])


def by_predict(run: Run, images: list[str]) -> np.ndarray:
    out = run.folder / "test.jsonl"
    run_main("predict", f"run={run.folder}", "split=test", f"out={out}", "batch_size=16")
    return order([json.loads(line) for line in out.read_text().splitlines()], run)


def order(records: list[dict], run: Run) -> np.ndarray:
    """Returns the logits (N, C) of records in the order of the label list."""
    rows = [{score["label"]: score["logit"] for score in record["scores"]} for record in records]
    return np.array([[row[label] for label in run.read_labels()] for row in rows], np.float32)


@torch.no_grad()
def by_timm(run: Run, images: list[str]) -> np.ndarray:
    model = timm.create_model(f"local-dir:{run.best}", pretrained=True).eval()
    return model(read_pixels(model, images)).numpy()


@torch.no_grad()
def by_transformers(run: Run, images: list[str]) -> np.ndarray:
    import transformers

    model = transformers.AutoModelForImageClassification.from_pretrained(run.best)
    processor = transformers.AutoImageProcessor.from_pretrained(run.best)
    return model(**processor([Image.open(image).convert("RGB") for image in images], return_tensors="pt")).logits


def by_pipeline(run: Run, images: list[str]) -> np.ndarray:
    import transformers

    labels = run.read_labels()
    ask = transformers.pipeline("image-classification", str(run.best))
    answers = ask(images, function_to_apply="sigmoid", top_k=len(labels))
    scores = [{row["label"]: row["score"] for row in answer} for answer in answers]
    return logit(np.array([[row[label] for label in labels] for row in scores]))


def prepare(run: Run, images: list[str]) -> torch.Tensor:
    """Returns the pixels uint8 (N, 3, H, W) that predict.py sees."""
    from multihot.data.images import read_image
    from multihot.prediction.predictor import open_predictor
    from multihot.run.folder import load_run

    with open_predictor(*load_run(str(run.folder), {})) as predictor:
        pixels = [predictor.prepare(read_image(image, predictor.min_side)) for image in images]
    return torch.from_numpy(np.stack(pixels))


def by_onnx(run: Run, images: list[str], size: int) -> np.ndarray:
    from multihot.export.onnx_model import OnnxModel

    if not (run.folder / "onnx").exists():
        run_main("export_onnx", f"run={run.folder}")
    model = OnnxModel.of_run(run, num_threads=1)
    return torch.cat([model.logits(batch) for batch in prepare(run, images).split(size)]).numpy()


def by_triton(run: Run, images: list[str]) -> np.ndarray:
    """Feeds the file by the names in config.pbtxt, as Triton does; Triton itself is not run."""
    import onnxruntime

    run_main("export_onnx", f"run={run.folder}", "triton=true", "input=pixels")
    folder = run.folder / "triton/a"
    names = re.findall(r'^    name: "(\w+)"', (folder / "config.pbtxt").read_text(), re.MULTILINE)
    session = onnxruntime.InferenceSession(folder / "1/model.onnx")
    logits = next(name for name in names if "logit" in name)
    return session.run([logits], {names[0]: prepare(run, images).permute(0, 2, 3, 1).numpy()})[0]


def by_server(run: Run, images: list[str]) -> np.ndarray:
    import httpx

    from multihot.prediction.predictor import open_predictor
    from multihot.run.folder import load_run
    from multihot.serving.app import create_app
    from multihot.serving.limits import Limits
    from multihot.serving.service import Cores, Service

    limits = Limits(
        file_bytes=10**6, request_bytes=10**7, total_bytes=10**7, num_files=64, num_waiting=64, pixels=10**6,
        seconds=60.0,
    )  # fmt: skip

    async def ask(app) -> list[dict]:
        async with app.router.lifespan_context(app):
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
            files = [("files", (Path(image).name, Path(image).read_bytes())) for image in images]
            answer = await client.post("/predict", files=files)
            await client.aclose()
            return answer.json()["images"]

    with open_predictor(*load_run(str(run.folder), {})) as predictor:
        service = Service(predictor, cores=Cores(1), batch_size=16, num_threads=1)
        app = create_app(service, limits, ABOUT, [])
        with ThreadPoolExecutor(1) as thread:  # the browser of other tests has an event loop in this one
            return order(thread.submit(lambda: asyncio.run(ask(app))).result(), run)


def by_handler(run: Run, images: list[str]) -> np.ndarray:
    folder = run.folder.parent / "hub"
    run_main("push_to_hub", f"run={run.folder}", "repo=me/model", "license=mit", f"out={folder}")
    handler = load_module(folder / "handler.py").EndpointHandler(str(folder))
    return order(handler({"inputs": [Path(image).read_bytes() for image in images]}), run)


WAYS = dict(
    zip(
        ROUTES,
        (
            by_predict, by_timm, by_transformers, by_pipeline, *(partial(by_onnx, size=size) for size in (1, 2, 3, 99)),
            by_triton, by_server, by_handler,
        ),
        strict=True,
    )
)  # fmt: skip
ABOUT = {"run": "a", "model": "0123456789abcdef", "backend": "torch", "saliency": False, "multihot": "0"}
MAY_REFUSE = ("timm", "transformers", "pipeline")


def measure(run: Run) -> dict[str, float | None]:
    """Returns by how much logits differ from those of evaluate.py at most, by each route; None where it refuses."""
    saved = Predictions.load(run.split("test"))
    images, expected = list(saved.images), saved.logits.numpy()
    assert expected.std(axis=0).min() > 0.005, "the model gives all photos the same"
    differences = {}
    for name, way in WAYS.items():
        logits = try_way(way, run, images) if name in MAY_REFUSE else way(run, images)
        differences[name] = None if logits is None else float(np.abs(np.asarray(logits) - expected).max())
    return differences


def try_way(way: Callable, run: Run, images: list[str]) -> np.ndarray | None:
    """Returns the logits by a way; None if it refuses and says that the model is one of ours."""
    try:
        return way(run, images)
    except (ImportError, RuntimeError, ValueError) as error:
        if "multihot" not in str(error):
            raise
    return None


def show(difference: float | None) -> str:
    """Returns a difference as a cell: rounded up to one digit."""
    if difference is None:
        return "refused"
    if difference == 0:
        return "0"
    exponent = np.floor(np.log10(difference))
    return f"{np.ceil(difference / 10**exponent) * 10**exponent:.0e}".replace("e-0", "e-")


def read_table() -> dict[tuple[str, str], dict[str, float | None]]:
    """Returns the differences in docs/routes.md by head and labels."""
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    names, rows = rows[0][2:], rows[1:]
    assert tuple(names) == ROUTES
    numbers = [[None if cell == "refused" else float(cell) for cell in row[2:]] for row in rows]
    return {(row[0], row[1]): dict(zip(names, cells, strict=True)) for row, cells in zip(rows, numbers, strict=True)}


def write_row(head: str, space: str, differences: dict) -> None:
    """Puts a row into the table of docs/routes.md, in the place of the one that is there."""
    path = Path(os.environ["ROUTES"])
    lines = path.read_text().splitlines()
    begin = f"| {head} | {space} |"
    row = " | ".join([begin.removesuffix(" |"), *map(show, differences.values())]) + " |"
    place = next((k for k, line in enumerate(lines) if line.startswith(begin)), None)
    if place is None:
        place = 1 + max(k for k, line in enumerate(lines) if line.startswith("|"))
        lines.insert(place, row)
    lines[place] = row
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("head", "space"), ALL if "ROUTES" in os.environ else CHECKED)
def test_every_route_gives_the_logits_of_evaluate(head, space, trained):
    differences = measure(trained(head, space))
    if "ROUTES" in os.environ:
        write_row(head, space, differences)
    expected = read_table()[head, space]
    assert {name for name in ROUTES if expected[name] is None} == {name for name in ROUTES if differences[name] is None}
    too_large = {
        name: (difference, expected[name])
        for name, difference in differences.items()
        if difference is not None and difference > max(SLACK * expected[name], LEAST)
    }
    assert too_large == {}
    assert differences["predict.py"] == 0
