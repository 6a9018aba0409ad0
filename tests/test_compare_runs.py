import csv
import json
import re

import pytest
from conftest import load_script
from omegaconf import OmegaConf

SETTINGS = {
    "seed": 0,
    "epochs": 3,
    "loss": {"function": {"_target_": "multihot.loss.BinaryCrossEntropy"}, "weight": None},
}
FOCAL = {"function": {"_target_": "multihot.loss.FocalLoss", "gamma": 2.0}}


def write_run(folder, name, score, split="val", before=0.25, **changes):
    """Writes what compare_runs reads of a run."""
    run = folder / name
    (run / split).mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.merge(SETTINGS, changes), run / "config.yaml")
    (run / "history.json").write_text(json.dumps([{"epoch": 0, "val/map": before}, {"epoch": 1, "val/map": score}]))
    (run / split / "metrics.json").write_text(json.dumps({"map": score}))


@pytest.fixture
def compare(monkeypatch, capsys):
    """compare(folder, "--by", ...): the rows of the table, or what the user is told instead."""
    main = load_script("scripts/compare_runs").main

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["compare_runs.py", *map(str, arguments)])
        failed, (output, error) = main(), capsys.readouterr()
        return error if failed else output.splitlines()[2:]

    return run


@pytest.fixture
def runs(tmp_path):
    for seed, (bce, better) in enumerate([(0.5, 0.8), (0.7, 0.82)]):
        write_run(tmp_path, f"bce-{seed}", bce, seed=seed)
        write_run(tmp_path, f"focal-{seed}", better, seed=seed, loss=FOCAL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.yaml").write_text("seed: 0\n")  # killed before its first measurement
    return tmp_path


def test_rows_are_what_differs_but_the_seed_best_first_with_mean_and_spread(compare, runs):
    assert compare(runs) == [
        "| loss.function=FocalLoss | 2 | 0.250 ± 0.000 | 0.810 ± 0.014 |",
        "| loss.function=BinaryCrossEntropy | 2 | 0.250 ± 0.000 | 0.600 ± 0.141 |",
    ]


def test_runs_can_be_told_apart_by_chosen_settings_alone(compare, runs):
    write_run(runs, "long", 0.9, epochs=9)
    assert [row.split(" | ")[0] for row in compare(runs, "--by", "epochs")] == ["| epochs=9", "| epochs=3"]
    assert len(compare(runs, "--by", "seed,loss")) == 4


def test_another_score_needs_its_split(compare, runs):
    error = compare(runs, "--score", "test/map")
    assert "no run in" in error
    assert "test/metrics.json" in error
    write_run(runs, "evaluated", 0.9, split="test")
    [row] = compare(runs, "--score", "test/map")
    assert row == "| all the same | 1 | - | 0.900 |"


def test_a_score_whose_lower_values_are_better_is_sorted_the_other_way(compare, runs):
    for number, run in enumerate(
        sorted(path for path in runs.iterdir() if path.name != "broken")
    ):  # bce, bce, focal ..
        (run / "val/metrics.json").write_text(json.dumps({"ranking_loss": number / 10}))
    rows = compare(runs, "--score", "val/ranking_loss")
    assert [row.split(" | ")[0] for row in rows] == ["| loss.function=BinaryCrossEntropy", "| loss.function=FocalLoss"]
    assert [row.split(" | ")[-1] for row in rows] == ["0.050 ± 0.071 |", "0.250 ± 0.071 |"]


def test_several_scores_stand_side_by_side_and_test_scores_by_themselves(compare, runs):
    write_run(runs, "focal-0", 0.7, split="test", seed=0, loss=FOCAL)
    for arguments in ((), ("--score", "val/map", "--score", "test/map")):
        assert compare(runs, *arguments) == [
            "| loss.function=FocalLoss | 2 | 0.250 ± 0.000 | 0.810 ± 0.014 | 0.700 |",
            "| loss.function=BinaryCrossEntropy | 2 | 0.250 ± 0.000 | 0.600 ± 0.141 | - |",
        ]


@pytest.mark.parametrize(
    "changes", [{"checkpoint": {"keep": 9}}, {"num_workers": 9}, {"log_every": 9}, {"data": {"cache_folder": "/tmp"}}]
)
def test_what_changes_no_result_tells_no_runs_apart(compare, runs, changes):
    write_run(runs, "elsewhere", 0.6, seed=2, **changes)
    assert "| loss.function=BinaryCrossEntropy | 3 | 0.250 ± 0.000 | 0.600 ± 0.100 |" in compare(runs)


def test_the_csv_has_a_column_a_setting_and_all_digits(compare, runs, tmp_path):
    write_run(runs, "long", 1 / 3, epochs=9)
    compare(runs, "--csv", tmp_path / "runs.csv")
    best, _, last = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    assert (best["loss.function"], best["epochs"], best["runs"]) == ("FocalLoss", "3", "2")
    assert (float(best["val/map"]), float(best["val/map std"])) == pytest.approx((0.81, 0.02 / 2**0.5))
    assert best["folders"] == "focal-0 focal-1"
    assert (last["epochs"], float(last["val/map"]), last["val/map std"]) == ("9", 1 / 3, "")


def test_the_page_holds_the_table_and_needs_nothing_else(compare, runs, tmp_path):
    write_run(runs, "markup", 0.1, epochs=3, note="<script>alert(1)</script>")
    compare(runs, "--html", tmp_path / "runs.html")
    page = (tmp_path / "runs.html").read_text()
    assert re.findall(r">([\d.]+ ± [\d.]+|0.100)</td>", page) == [
        "0.250 ± 0.000", "0.810 ± 0.014", "0.250 ± 0.000", "0.600 ± 0.141", "0.100"
    ]  # fmt: skip
    assert page.count("<circle") == 5
    assert "<script>alert" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
