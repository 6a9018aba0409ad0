import csv
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SMALL_DIGITS, train_as_told
from safetensors.torch import load_file
from sklearn.metrics import f1_score, log_loss

from multihot.decisions import Decisions, Precision, Recall, fit_decisions
from multihot.errors import InputError
from multihot.evaluation.decided import describe, is_fitted_to
from multihot.evaluation.scores import format_evaluation
from multihot.labels import LabelSpace
from multihot.metrics import Evaluation
from multihot.metrics.blocks import LogitsAndTarget


@pytest.fixture
def train(train):
    """Trainings that end with decisions."""
    return lambda *overrides: train("decisions=micro_f1", *overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few scenes, whose labels are learned a little."""
    folder = tmp_path_factory.mktemp("runs")
    changes = ("decisions=micro_f1", "start=fit", "data.num_images={train:200,val:120,test:90}")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", *changes)
    return folder / "a"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "a"))


def read_metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_training_ends_with_decisions_and_the_test_split_is_scored_by_them(run, evaluate):
    decisions = Decisions.load(run / "best")
    assert decisions.fitted["split"] == "val"
    assert decisions.fitted["num_images"] == 120
    assert decisions.description == "MicroF1(beta=1.0), one threshold, platt, val"
    assert {"micro_f1", "log_loss"} <= decisions.fitted["cross_fitted"].keys()
    evaluate(f"run={run}", "split=test")
    saved, metrics = load_file(run / "test/predictions.safetensors"), read_metrics(run / "test")
    target, decision = saved["target"].numpy(), decisions.decide(saved["logits"]).numpy()
    half = (saved["logits"].sigmoid() > 0.5).numpy()
    for average in ("micro", "macro", "samples"):
        expected = f1_score(target, decision, average=average, zero_division=0)
        assert metrics[f"fitted_{average}_f1"] == pytest.approx(expected, abs=1e-12)
        assert metrics[f"{average}_f1"] == pytest.approx(
            f1_score(target, half, average=average, zero_division=0), abs=1e-12
        )
    probability = decisions.probability(saved["logits"]).double().numpy()
    assert metrics["fitted_log_loss"] == pytest.approx(log_loss(target.ravel(), probability.ravel()), abs=1e-6)
    assert metrics["decisions"] == {"description": decisions.description, "sha256": decisions.sha256}
    rows = list(csv.DictReader((run / "test/labels.csv").read_text().splitlines()))
    assert float(rows[3]["fitted_f1"]) == pytest.approx(f1_score(target[:, 3], decision[:, 3]), abs=1e-12)
    assert float(rows[3]["fitted_threshold"]) == decisions.common
    rows = list(csv.DictReader((run / "test/calibration.csv").read_text().splitlines()))
    assert float(rows[3]["fitted_log_loss"]) == pytest.approx(log_loss(target[:, 3], probability[:, 3]), abs=1e-6)
    assert float(rows[3]["log_loss"]) == pytest.approx(log_loss(target[:, 3], saved["logits"][:, 3].double().sigmoid()))


def test_images_that_decisions_were_fitted_to_are_not_scored_by_them(run, evaluate):
    before = read_metrics(run / "val")
    evaluate(f"run={run}", "split=val")
    assert read_metrics(run / "val") == before
    decisions = Decisions.load(run / "best")
    assert is_fitted_to(decisions, "train", decisions.fitted["data"])
    unknown = Decisions(
        decisions.space, decisions.cuts, decisions.calibration, 0.5, fitted={"split": "val", "data": None}
    )
    assert is_fitted_to(unknown, "val", "any")
    assert not is_fitted_to(unknown, "test", "any")


def test_the_script_fits_another_aim_and_refuses_the_test_split(run, evaluate, call_script):
    told = call_script("scripts/fit_decisions.py", f"run={run}", "decisions=recall", "decisions.per_label=true")
    assert told.returncode == 0, told.stderr
    assert "Recall(at_least=0.9), one threshold a label" in told.stdout
    assert Decisions.load(run / "best").fitted["aim"] == {"name": "Recall", "at_least": 0.9}
    evaluate(f"run={run}", "split=test")
    assert read_metrics(run / "test")["decisions"]["description"].startswith("Recall")
    for overrides, words in (
        (["split=test"], "say nothing about new images"),
        (["split=train"], "split=train"),
        (["decisions=none"], "fits nothing"),
        (["decisions=precision", "decisions.aim.at_least=1"], "at_least"),
        (["decisions.calibration=isotonic"], "300 positives"),
    ):
        told = call_script("scripts/fit_decisions.py", f"run={run}", *overrides)
        assert told.returncode == 1
        assert words in told.stderr
    assert Decisions.load(run / "best").fitted["aim"]["name"] == "Recall"


def test_predictions_of_another_model_are_refused(run, call_script):
    config = run / "best/config.json"
    config.write_text(config.read_text() + " ")
    (run / "best/seal.json").unlink()
    told = call_script("scripts/fit_decisions.py", f"run={run}")
    assert "of another model" in told.stderr


def test_damaged_decisions_are_said(run, evaluate):
    (run / "best/decisions.json").write_text("{}")
    with pytest.raises(InputError, match=r"decisions\.json is damaged.*or fit anew"):
        evaluate(f"run={run}", "split=test")


def test_decisions_of_other_groups_are_not_used(run, evaluate, call_script, caplog):
    path = run / "best/decisions.json"
    config = json.loads(path.read_text())
    config["label_space"]["groups"] = {"size": {"labels": ["zero", "one"], "none": True}}
    config["cuts"][:2] = [None, None]
    config["calibration"]["temperatures"] = [1.0]
    path.write_text(json.dumps(config))
    evaluate(f"run={run}", "split=test")
    assert "of other labels or groups" in caplog.text
    assert "fitted_micro_f1" not in read_metrics(run / "test")
    fewer = fit_decisions(
        LogitsAndTarget(torch.randn(20, 2), torch.eye(2).repeat(10, 1)), LabelSpace(("a", "b")), Recall(0.5)
    )
    fewer.save(run / "best")
    told = call_script("scripts/report.py", f"run={run}", "split=test", "pictures=0")
    assert told.returncode == 0, told.stderr


def test_a_training_without_decisions_or_validation_leaves_none(train, tmp_path):
    train("name=a", "decisions=none")
    assert not (tmp_path / "a/best/decisions.json").exists()


def test_what_cannot_be_promised_does_not_stop_a_training(train, tmp_path, caplog):
    train("name=a", "decisions=recall", "decisions.aim.at_least=0.99")
    assert "no decisions are fitted: a recall of 0.99 cannot be promised by 21 images" in caplog.text
    assert (tmp_path / "a/finished.json").exists()


def test_a_validation_part_of_few_images_is_no_fault(train, tmp_path, caplog):
    train("name=a", "data.num_images={train:30,val:3,test:5}")
    assert Decisions.load(tmp_path / "a/best").fitted["cross_fitted"] == {}
    assert "too few to fit to some and decide the others" in caplog.text


def test_labels_that_exclude_each_other_get_a_temperature(train, evaluate, tmp_path, caplog):
    train("name=a", "single_label=true", "data.single_label=true", "loss=cross_entropy", "monitor=val/accuracy")
    assert "the largest logit decides; temperature" in caplog.text
    evaluate(f"run={tmp_path}/a", "split=test")
    metrics = read_metrics(tmp_path / "a/test")
    assert metrics["fitted_log_loss"] > 0
    assert metrics["decisions"]["description"] == "largest logit, val"
    assert "fitted_micro_f1" not in metrics


def test_a_run_that_goes_on_fits_anew(train, tmp_path):
    train("name=a")
    first = Decisions.load(tmp_path / "a/best").fitted["model"]
    train("name=a", "epochs=2")
    best = json.loads((tmp_path / "a/finished.json").read_text())["epoch"]
    assert (Decisions.load(tmp_path / "a/best").fitted["model"] == first) == (best < 2)
    assert not math.isnan(Decisions.load(tmp_path / "a/best").cuts.sum())
    assert isinstance(Decisions.load(tmp_path / "a/best").cuts, torch.Tensor)


def test_only_labels_with_a_threshold_of_their_own_are_in_its_range():
    logits = torch.arange(30.0).unsqueeze(1).repeat(1, 2)
    target = torch.stack((logits[:, 0] >= 11, logits[:, 1] >= 28), dim=1).int()
    decisions = fit_decisions(
        LogitsAndTarget(logits, target), LabelSpace(("a", "b")), Recall(0.9), per_label=True, fitted={"num_images": 30}
    )
    own = decisions.thresholds()[0]
    assert f"1 label: each from its own on, {own:.4f} to {own:.4f}" in describe(decisions, {})


def test_a_refused_precision_says_what_can_be_promised():
    matrices = LogitsAndTarget(torch.tensor([[2.0], [1.0], [0.0]]), torch.tensor([[1], [1], [0]]))
    with pytest.raises(InputError, match=r"none above 0\.224 can"):  # 2 of 2 right: 0.05 ** (1 / 2)
        fit_decisions(matrices, LabelSpace(("a",)), Precision(0.9), calibration="none")


def test_a_label_of_a_group_and_resamples_that_are_all_the_same_are_printed():
    nothing = math.nan, math.nan
    evaluation = Evaluation(
        {"micro_f1": 0.0, "fitted_micro_f1": 0.5},
        [
            {"label": "grouped", "support": 2, "fitted_threshold": None},
            {"label": "alone", "support": 1, "fitted_threshold": 0.25},
        ],
    )
    evaluation.decided_by["sha256"] = ""
    evaluation.intervals.update({"micro_f1": nothing, "fitted_micro_f1": nothing, "gain_micro_f1": nothing})
    lines = format_evaluation(evaluation).splitlines()
    assert lines[1].split() == ["micro_f1", "0.0000", "0.5000", "+0.5000"]
    assert [line.split()[-1] for line in lines[-2:]] == ["-", "0.2500"]
