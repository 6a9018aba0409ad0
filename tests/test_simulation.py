"""The simulation of the intervals: what it takes for the truth is true, and it runs."""

import numpy as np
import pytest
import sklearn.metrics
from conftest import load_script


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    return load_script("scripts/simulate_intervals")


def test_the_true_ap_is_that_of_a_very_large_split(script):
    rng = np.random.default_rng(0)
    target = rng.random(400_000) < 0.05
    for quality in (0.5, 2.0):
        measured = sklearn.metrics.average_precision_score(target, rng.normal(size=len(target)) + quality * target)
        assert script.true_ap(np.array([quality]), 0.05)[0] == pytest.approx(measured, abs=0.005)


def test_quick_prints_both_tables(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["simulate_intervals.py", "--quick", "--images", "400", "--labels", "4"])
    script.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| positives a label", "| 3", "| 300"] * 2
    assert rows[0][1:5] == ["AP: logit interval", "AP: percentile", "mAP: basic", "mAP: percentile"]
    assert all(0 <= float(number.strip("| ")) <= 1 for row in rows if "label" not in row[0] for number in row[1:])
