"""The files of programs for taggers, which decide by a sigmoid >= a threshold, as the model does by its cuts."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from multihot.decisions import Decisions
from multihot.errors import InputError
from multihot.export.tagger import describe_steps, threshold_from, write_tagger_files
from multihot.labels import Group, LabelSpace

PREPROCESSING = {
    "input_size": (3, 32, 32), "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1),
    "crop_pct": 0.9, "crop_mode": "center",
}  # fmt: skip
CUTS = torch.cat([torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 4, torch.tensor([0.0, -30.0, 12.0])])


def up(values: torch.Tensor) -> torch.Tensor:
    """Returns the next float32 above each."""
    return torch.nextafter(values, torch.tensor(torch.inf))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_decide_as_the_cuts_do_on_the_cut_itself(dtype):
    thresholds = np.array(threshold_from(CUTS)).astype(dtype)

    def holds(logits: torch.Tensor) -> np.ndarray:
        return torch.sigmoid(logits).numpy() >= thresholds

    assert not holds(CUTS).any()
    assert not holds(-up(-CUTS)).any()
    probability = torch.sigmoid(CUTS)
    above = CUTS.clone()
    for _ in range(400):  # to the first logit above that has another sigmoid
        above = torch.where(torch.sigmoid(above) > probability, above, up(above))
    clearly = torch.sigmoid(up(above)) > up(probability)  # by more than the last digit, in which sigmoids differ
    assert holds(up(above))[clearly.numpy()].all()
    assert holds(CUTS + 1e-3)[(CUTS < 8).numpy()].all()


def test_random_logits_are_decided_alike():
    logits = torch.randn(4000, len(CUTS), generator=torch.Generator().manual_seed(1)) * 4
    probability = torch.sigmoid(logits).numpy()
    theirs, ours = probability >= np.array(threshold_from(CUTS)), (logits > CUTS).numpy()
    at_cut = torch.maximum(torch.sigmoid(CUTS), torch.sigmoid(CUTS.double()).float()).numpy()
    is_rounded_away = probability <= at_cut  # near 0 and 1 many logits have the sigmoid of the cut
    assert np.array_equal(theirs | is_rounded_away, ours | is_rounded_away)
    assert (theirs != ours).mean() < 1e-5
    assert not (theirs & ~ours).any()


def test_thresholds_survive_the_way_through_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    labels = tuple(f"{number}" for number in range(len(CUTS)))
    decisions = Decisions.by_threshold(LabelSpace(labels), torch.sigmoid(CUTS).clamp(1e-6, 1 - 1e-6).tolist())
    write_tagger_files(tmp_path, decisions, [0] * len(CUTS), PREPROCESSING)
    tags = pandas.read_csv(tmp_path / "selected_tags.csv", keep_default_na=False)
    at_cut = torch.sigmoid(decisions.cuts).numpy()
    assert not (at_cut >= tags["best_threshold"]).any()
    assert (np.nextafter(at_cut, np.float32(np.inf)) > tags["best_threshold"] - 1e-6).all()


def test_files_are_as_their_readers_expect_them(tmp_path):
    space = LabelSpace(("cat", 'a, "b"\nc', "null"))
    write_tagger_files(tmp_path, Decisions.by_threshold(space, [0.5, 0.25, 0.75]), [3, 1, 2], PREPROCESSING)
    with (tmp_path / "selected_tags.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["tag_id", "name", "category"]  # kohya's sd-scripts want these three first
    assert header[3:] == ["count", "best_threshold"]
    assert [row[:4] for row in rows] == [
        ["0", "cat", "0", "3"], ["1", 'a, "b"\nc', "0", "1"], ["2", "null", "0", "2"],
    ]  # fmt: skip
    assert [round(float(row[4]), 6) for row in rows] == [0.5, 0.25, 0.75]
    assert json.loads((tmp_path / "categories.json").read_text()) == [{"category": 0, "name": "general"}]
    with (tmp_path / "thresholds.csv").open(newline="") as file:
        [common] = csv.DictReader(file)
    assert (common["category"], common["name"], round(float(common["threshold"]), 6)) == ("0", "general", 0.5)
    steps = json.loads((tmp_path / "preprocess.json").read_text())
    assert steps["test"] == steps["val"]
    assert steps["test"] == [
        {"type": "resize", "size": 35, "interpolation": "bicubic", "max_size": None, "antialias": True},
        {"type": "center_crop", "size": [32, 32]},
        {"type": "maybe_to_tensor"},
        {"type": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]},
    ]


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_steps_give_the_pixels_of_timm(crop_mode):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    makers = {
        "resize": lambda size, interpolation, **more: Resize(size, InterpolationMode(interpolation), **more),
        "center_crop": CenterCrop,
        "maybe_to_tensor": ToTensor,
        "normalize": Normalize,
    }
    settings = PREPROCESSING | {"crop_mode": crop_mode}
    steps = [dict(step) for step in describe_steps(settings)]
    theirs = Compose([makers[step.pop("type")](**step) for step in steps])
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8))
    assert torch.equal(theirs(picture), create_transform(**settings)(picture))


def test_what_they_cannot_do_is_refused(tmp_path):
    with pytest.raises(InputError, match="no word for ResizeKeepRatio"):
        describe_steps(PREPROCESSING | {"crop_mode": "border"})
    space = LabelSpace(("a", "b"), (Group("x", ("a", "b")),))
    with pytest.raises(InputError, match="exclude each other"):
        write_tagger_files(tmp_path, Decisions.by_threshold(space), [0, 0], PREPROCESSING)
    assert list(tmp_path.iterdir()) == []
