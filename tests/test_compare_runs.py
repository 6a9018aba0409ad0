import json

import pytest
from conftest import load_script
from omegaconf import OmegaConf

SETTINGS = {
    "seed": 0,
    "epochs": 3,
    "loss": {"function": {"_target_": "multihot.loss.BinaryCrossEntropy"}, "weight": None},
}


def write_run(folder, name, score, split="val", before=0.25, **changes):
    """Writes what compare_runs reads of a run."""
    run = folder / name
    (run / split).mkdir(parents=True)
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
    focal = {"function": {"_target_": "multihot.loss.FocalLoss", "gamma": 2.0}}
    for seed, (bce, better) in enumerate([(0.5, 0.8), (0.7, 0.82)]):
        write_run(tmp_path, f"bce-{seed}", bce, seed=seed)
        write_run(tmp_path, f"focal-{seed}", better, seed=seed, loss=focal)
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
