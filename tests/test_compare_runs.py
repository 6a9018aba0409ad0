import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import load_script
from omegaconf import OmegaConf
from scipy import stats

SETTINGS = {
    "seed": 0,
    "epochs": 3,
    "patience": None,
    "loss": {"function": {"_target_": "multihot.loss.BinaryCrossEntropy"}, "weight": None},
}
FOCAL = {"function": {"_target_": "multihot.loss.FocalLoss", "gamma": 2.0}}
BCE_ROW, FOCAL_ROW = "loss.function=BinaryCrossEntropy", "loss.function=FocalLoss"


def write_run(folder, name, score, split="val", before=0.25, hashes=None, code=None, finished=True, **changes):
    """Writes what compare_runs reads of a run: a finished one, unless `finished` says otherwise."""
    run, settings = folder / name, OmegaConf.merge(SETTINGS, changes)
    (run / split).mkdir(parents=True, exist_ok=True)
    OmegaConf.save(settings, run / "config.yaml")
    done = settings.epochs if finished else 0
    history = [{"epoch": 0, "val/map": before}, {"epoch": done, "val/map": score}][: 1 + bool(done)]
    write(run / "history.json", history)
    write(run / split / "metrics.json", {"map": score})
    if finished:
        write(run / "finished.json", {"score": score, "epoch": done, "config_sha256": ""})
    if hashes:
        write(run / "manifests.json", {part: {"num_images": 9, "sha256": hash} for part, hash in hashes.items()})
    if code:
        write(run / "code.json", code)


def write(path, content):
    path.write_text(json.dumps(content))


def settings_of(rows):
    return [row.split(" | ")[0].removeprefix("| ") for row in rows]


@pytest.fixture
def tell(monkeypatch, capsys):
    """tell(folder, "--by", ...): whether it worked, and what is printed on stdout and stderr."""
    main = load_script("scripts/compare_runs").main

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["compare_runs.py", *map(str, arguments)])
        code = main()
        return code == 0, *capsys.readouterr()

    return run


@pytest.fixture
def compare(tell):
    """compare(folder, "--by", ...): the rows of the table."""

    def run(*arguments):
        worked, output, error = tell(*arguments)
        assert worked, error
        return [line for line in output.splitlines() if line.startswith("| ")][1:]

    return run


@pytest.fixture
def warn(tell):
    """warn(folder, "--by", ...): what is said on stderr beside the table."""

    def run(*arguments):
        worked, _, error = tell(*arguments)
        assert worked, error
        return error.splitlines()

    return run


@pytest.fixture
def refuse(tell):
    """refuse(folder, "--by", ...): the error that is told instead of a table."""

    def run(*arguments):
        worked, output, error = tell(*arguments)
        assert not worked
        assert not output
        return error

    return run


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for seed, (bce, better) in enumerate([(0.5, 0.8), (0.7, 0.82)]):
        write_run(folder, f"bce-{seed}", bce, seed=seed)
        write_run(folder, f"focal-{seed}", better, seed=seed, loss=FOCAL)
    return folder


def test_rows_are_what_differs_but_the_seed_best_first_with_mean_and_spread(compare, runs):
    assert compare(runs) == [
        f"| {FOCAL_ROW} | 2 | 0.2500 ± 0.0000 | 0.8100 ± 0.0141 | best |",
        f"| {BCE_ROW} | 2 | 0.2500 ± 0.0000 | 0.6000 ± 0.1414 | -0.2100 ± 0.0900 |",
    ]


def test_a_clean_comparison_warns_of_nothing(warn, runs):
    for run in runs.iterdir():
        write(run / "manifests.json", {"train": {"sha256": "t"}, "val": {"sha256": "v"}})
        write(run / "code.json", {"commit": "c", "dirty": False})
    assert warn(runs) == []


def test_runs_can_be_told_apart_by_chosen_settings_alone(compare, runs):
    write_run(runs, "long", 0.9, epochs=9)
    assert settings_of(compare(runs, "--by", "epochs")) == ["epochs=9", "epochs=3"]
    assert len(compare(runs, "--by", "seed, loss")) == 4


def test_runs_that_did_not_end_are_left_out_and_named(tell, warn, compare, runs, tmp_path):
    write_run(runs, "killed", 0.95, seed=2, finished=False)
    (runs / "failed").mkdir()
    (runs / "failed/config.yaml").write_text("seed: 3\nepochs: 3\n")
    assert warn(runs) == [
        "left out, not finished: failed (nothing measured), killed (epoch 0 of 3); --unfinished counts them"
    ]
    table = compare(runs)
    assert table == compare(runs, "--csv", tmp_path / "runs.csv", "--html", tmp_path / "runs.html")
    assert [row.split(" | ")[1] for row in table] == ["2", "2"]
    *_, failed, killed = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    assert (killed["folders"], killed["runs"], killed["val/map"]) == ("killed", "0", "")
    assert killed["left out"] == "not finished (epoch 0 of 3)"
    assert failed["left out"] == "not finished (nothing measured)"
    assert "<li>killed: not finished (epoch 0 of 3)</li>" in (tmp_path / "runs.html").read_text()
    assert warn(runs, "--unfinished") == [
        "left out, without val/map: failed",
        "warning: counted though they did not come to their end: killed (epoch 0 of 3)",
    ]
    assert f"| {BCE_ROW} | 3 |" in "\n".join(compare(runs, "--unfinished"))


def test_trials_that_a_search_ended_early_are_left_out(warn, compare, runs):
    write_run(runs, "early", 0.95, seed=2)
    write(runs / "early/finished.json", {"score": 0.95, "epoch": 1, "config_sha256": "", "pruned": True})
    write(runs / "early/history.json", [{"epoch": 0, "val/map": 0.1}, {"epoch": 1, "val/map": 0.95}])
    assert warn(runs) == ["left out, ended early by the search: early (epoch 1 of 3); --unfinished counts them"]
    assert len(compare(runs, "--unfinished")) == 2


def test_a_finished_run_that_goes_on_with_more_epochs_is_not_finished(warn, runs):
    write_run(runs, "longer", 0.95, seed=2)
    OmegaConf.save(OmegaConf.merge(SETTINGS, {"epochs": 9, "seed": 2}), runs / "longer/config.yaml")
    assert warn(runs) == ["left out, not finished: longer (epoch 3 of 9); --unfinished counts them"]


def test_a_run_that_was_killed_after_its_last_epoch_is_not_finished(warn, runs):
    (runs / "bce-1/finished.json").unlink()
    assert warn(runs) == ["left out, not finished: bce-1 (epoch 3 of 3); --unfinished counts them"]


@pytest.mark.parametrize(("patience", "counts"), [(2, True), (3, False)])
def test_a_run_whose_patience_ended_it_counts(compare, runs, patience, counts):
    write_run(runs, "patient", 0.95, seed=2, epochs=9, patience=patience)
    write(runs / "patient/finished.json", {"score": 0.95, "epoch": 1, "config_sha256": ""})
    write(runs / "patient/history.json", [{"epoch": 0, "val/map": 0.1}, {"epoch": 3, "val/map": 0.95}])
    assert (len(compare(runs)) == 3) == counts


def test_runs_without_the_score_are_named(warn, runs):
    write(runs / "bce-0/val/metrics.json", {"map": None, "ranking_loss": 0.1})
    (runs / "bce-1/val/metrics.json").unlink()
    assert warn(runs) == ["left out, without val/map: bce-0, bce-1"]


def test_no_run_that_counts_is_an_error_that_says_why(refuse, tmp_path):
    write_run(tmp_path, "killed", 0.5, finished=False)
    error = refuse(tmp_path)
    assert f"error: no run in {tmp_path} is a result\nleft out, not finished: killed (epoch 0 of 3)" in error


def test_each_wrong_folder_has_its_own_hint(refuse, runs, tmp_path):
    assert refuse(tmp_path / "rusn") == f"error: {tmp_path}/rusn: no such folder\n"
    assert refuse(runs / "bce-0") == f"error: {runs}/bce-0 is a run folder: give the one above it, {runs}\n"
    assert "has no run folders" in refuse(tmp_path)


DAMAGED = {
    "config.yaml": (
        "seed: [",
        "epochs: many",
        "{}",
        "- 1",
        "seed: ${oc.env:NOT_THERE}",
        "epochs: !!python/name:os.system",
    ),
    "history.json": ('[{"epoch": 0', "{}", "null", '[{"map": 1}]', '[{"epoch": 0, "val/map": "good"}]', b"\xff", None),
    "finished.json": ("null", "[]", "{}", '{"epoch": "3", "config_sha256": ""}'),
    "manifests.json": ("[]", '{"train": "t"}', '{"train": {"sha256": 1}}'),
    "code.json": ("[]", '{"commit": []}', '{"went_on_with": 1}'),
    "val/metrics.json": ("[]", '{"map": "0.5"}', '{"map": true}'),
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in DAMAGED for content in DAMAGED[name]])
@pytest.mark.parametrize("arguments", [(), ("--unfinished",)])
def test_a_run_with_a_damaged_file_is_left_out_and_named(tell, runs, name, content, arguments):
    path = runs / "bce-0" / name
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    worked, printed, warnings = tell(runs, *arguments)
    assert worked
    assert re.match(rf"left out, {path} is damaged \(.+\): bring it back from a copy.*: bce-0\n", warnings)
    assert "bce-0" not in printed


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_what_is_not_ours_is_not_replaced(tell, refuse, runs, tmp_path, option):
    (tmp_path / "mine").write_text("image,labels\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert f"{tmp_path}/mine is there and is none that this has written: give {option}" in refuse(
        runs, option, tmp_path / "mine"
    )
    assert (tmp_path / "mine").read_text() == "image,labels\n"
    assert "is a folder" in refuse(runs, option, tmp_path / "folder")
    assert "is a link" in refuse(runs, option, tmp_path / "link")
    assert "could not be written" in refuse(runs, option, tmp_path / "mine/runs")
    for arguments in ((), ("--by", "seed")):
        assert tell(runs, option, tmp_path / "new/runs", *arguments)[0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["runs"]


def test_an_unknown_score_is_refused_with_the_known_ones(refuse, runs):
    write(runs / "bce-0/val/metrics.json", {"map": 0.5, "lrap": 0.6})
    error = refuse(runs, "--score", "val/map", "--score", "val/mpa")
    assert error == f"error: no run in {runs} has the score val/mpa; known ones: val/lrap, val/map\n"
    assert "split=test measures it); known ones: val/lrap, val/map" in refuse(runs, "--score", "test/map")


def test_another_score_needs_its_split(compare, runs):
    write_run(runs, "evaluated", 0.9, split="test")
    [row] = compare(runs, "--score", "test/map")
    assert row == "| all the same | 1 | - | 0.9000 | best |"


def test_a_score_whose_lower_values_are_better_is_sorted_the_other_way(compare, runs):
    for number, run in enumerate(sorted(runs.iterdir())):  # bce, bce, focal, focal
        write(run / "val/metrics.json", {"ranking_loss": number / 10})
    rows = compare(runs, "--score", "val/ranking_loss")
    assert settings_of(rows) == [BCE_ROW, FOCAL_ROW]
    assert [row.split(" | ")[-2:] for row in rows] == [
        ["0.0500 ± 0.0707", "best |"], ["0.2500 ± 0.0707", "0.2000 ± 0.0000 |"]
    ]  # fmt: skip


def test_several_scores_stand_side_by_side_with_the_number_of_runs_that_have_them(compare, runs, tmp_path):
    write_run(runs, "focal-0", 0.7, split="test", seed=0, loss=FOCAL)
    for arguments in ((), ("--score", "val/map", "--score", "test/map")):
        assert compare(runs, *arguments, "--csv", tmp_path / "runs.csv") == [
            f"| {FOCAL_ROW} | 2 | 0.2500 ± 0.0000 | 0.8100 ± 0.0141 | best | 0.7000 (1 of 2) |",
            f"| {BCE_ROW} | 2 | 0.2500 ± 0.0000 | 0.6000 ± 0.1414 | -0.2100 ± 0.0900 | - |",
        ]
    lines = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    assert [(line["val/map runs"], line["test/map runs"]) for line in lines] == [("2", "1"), ("2", "0")]


@pytest.mark.parametrize(
    "changes", [{"checkpoint": {"keep": 9}}, {"num_workers": 9}, {"log_every": 9}, {"data": {"cache_folder": "/tmp"}}]
)
def test_what_changes_no_result_tells_no_runs_apart(tell, compare, runs, changes):
    write_run(runs, "elsewhere", 0.6, seed=2, **changes)
    assert f"| {BCE_ROW} | 3 | 0.2500 ± 0.0000 | 0.6000 ± 0.1000 |" in compare(runs)[1]
    assert "mixes" not in tell(runs, "--by", "loss")[2]


def test_a_run_of_before_a_setting_counts_as_what_was_true_of_it(compare, runs):
    write_run(runs, "new", 0.6, seed=2, data={"agree": "error", "answers": None, "value_range": "auto"})
    assert f"| {BCE_ROW} | 3 | 0.2500 ± 0.0000 | 0.6000 ± 0.1000 |" in compare(runs)[1]
    write_run(runs, "old", 0.6, seed=3, ema={"warmup": True})
    assert f"| {BCE_ROW} | 4 | 0.2500 ± 0.0000 | 0.6000 ± 0.0816 |" in compare(runs)[1]
    write_run(runs, "other", 0.9, seed=3, data={"agree": "majority"})
    assert "data.agree=majority" in compare(runs)[0]


def test_runs_measured_on_other_data_are_other_rows_without_a_difference(compare, warn, runs):
    for name in ("bce", "focal"):
        changes = {"loss": FOCAL} if name == "focal" else {}
        for seed in (0, 1):
            write_run(runs, f"{name}-{seed}", 0.5, seed=seed, hashes={"val": "0123456789ab"}, **changes)
        write_run(runs, f"{name}-2", 0.6, seed=2, hashes={"val": "ba9876543210"}, **changes)
        write_run(runs, f"{name}-3", 0.6, seed=3, hashes={"val": "ba9876543210"}, **changes)
    rows = compare(runs, "--by", "loss")
    assert settings_of(rows) == [
        f"data.val=ba987654 {BCE_ROW}", f"data.val=ba987654 {FOCAL_ROW}",
        f"data.val=01234567 {BCE_ROW}", f"data.val=01234567 {FOCAL_ROW}",
    ]  # fmt: skip
    assert [row.split(" | ")[-1] for row in rows] == ["best |", "0.0000 ± 0.0000 |", "- |", "- |"]
    [warning] = warn(runs)
    assert warning.startswith("warning: the runs were measured on 2 different val splits (ba987654: 4 runs, 0123")


def test_only_the_split_of_the_score_and_train_are_compared(compare, warn, runs):
    for seed in (0, 1):
        write_run(runs, f"bce-{seed}", 0.5, seed=seed, hashes={"val": "v", "train": "t", "test": f"{seed}"})
    assert warn(runs) == []
    assert len(compare(runs)) == 2
    write(runs / "bce-0/manifests.json", {"val": {"sha256": "v"}, "train": {"sha256": "other"}})
    assert "data.train=other loss.function=BinaryCrossEntropy" in settings_of(compare(runs))
    assert f"warning: row {BCE_ROW} mixes data.train=t|other" in warn(runs, "--by", "loss")


def test_other_train_data_by_a_setting_that_is_compared_is_no_column_of_its_own(compare, runs):
    for seed in (0, 1):
        write_run(runs, f"bce-{seed}", 0.5, seed=seed, hashes={"train": "all"}, max_images=None)
        write_run(runs, f"focal-{seed}", 0.4, seed=seed, hashes={"train": "few"}, max_images=9)
    assert settings_of(compare(runs)) == ["max_images=None", "max_images=9"]


def test_a_row_that_pools_other_settings_says_so(warn, runs, tmp_path):
    for seed in (0, 1):
        write_run(runs, f"long-{seed}", 0.9, seed=seed, epochs=30)
    warnings = warn(runs, "--by", "loss", "--csv", tmp_path / "runs.csv", "--html", tmp_path / "runs.html")
    assert f"warning: row {BCE_ROW} mixes epochs=3|30 (seeds 0, 1 occur 2 times)" in warnings
    mixed = {
        line["loss.function"]: line["mixed"]
        for line in csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    }
    assert mixed == {"BinaryCrossEntropy": "epochs=3|30", "FocalLoss": ""}
    page = (tmp_path / "runs.html").read_text()
    assert "<button>mixed</button>" in page
    assert ">epochs=3|30</td>" in page
    assert f"warning: row epochs=3 mixes {FOCAL_ROW}|BinaryCrossEntropy (seeds 0, 1 occur 2 times)" in warn(
        runs, "--by", "epochs"
    )


def test_an_unknown_name_in_by_is_refused_with_similar_ones(refuse, runs):
    error = refuse(runs, "--by", "loss,epoch")
    assert error == "error: --by epoch: no run that counts has this setting; near: epochs\n"
    assert "near: loss.function.gamma" in refuse(runs, "--by", "gamma")


def test_a_name_in_by_that_does_not_differ_is_said(warn, runs):
    assert "warning: epochs is the same in all runs" in warn(runs, "--by", "loss , epochs")


def test_repeated_seeds_are_said_and_count_as_one(compare, warn, runs, tmp_path):
    write_run(runs, "bce-again", 0.9, seed=0)
    warnings = warn(runs, "--csv", tmp_path / "runs.csv", "--html", tmp_path / "runs.html")
    [warning] = [line for line in warnings if "warning: seed" in line]
    assert warning == f"warning: seed 0 occurs 2 times in row {BCE_ROW}: these runs are not independent"
    lines = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert [line["seeds"] for line in lines] == ["0 1", "0 0 1"]
    assert ">0 0 1</td>" in (tmp_path / "runs.html").read_text()
    # focal 0.80, 0.82; bce (0.5 + 0.9) / 2 = 0.70, 0.70: gaps -0.10, -0.12, their error 0.0141 / sqrt(2)
    assert compare(runs)[1].endswith("| -0.1100 ± 0.0100 |")


def test_the_difference_is_that_of_the_paired_and_of_welchs_t_test(runs, compare, tmp_path):
    best, bce = [0.80, 0.82, 0.86, 0.81], [0.5, 0.7, 0.63, 0.66]
    for seed, (good, worse) in enumerate(zip(best, bce, strict=True)):
        write_run(runs, f"focal-{seed}", good, seed=seed, loss=FOCAL)
        write_run(runs, f"bce-{seed}", worse, seed=3 - seed)  # not in the order of the folders
        write_run(runs, f"long-{seed}", worse, seed=seed + 1, epochs=9)
    compare(runs, "--csv", tmp_path / "runs.csv")
    lines = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert [(line["epochs"], line["difference to the best paired"]) for line in lines] == [
        ("3", ""), ("3", "True"), ("9", "False")
    ]  # fmt: skip
    expected = [stats.ttest_rel(bce[::-1], best), stats.ttest_ind(bce, best, equal_var=False)]
    for line, test in zip(lines[1:], expected, strict=True):
        mean, error = float(line["difference to the best"]), float(line["difference to the best error"])
        assert mean == pytest.approx(sum(bce) / 4 - sum(best) / 4)
        assert mean / error == pytest.approx(test.statistic)
    assert compare(runs)[2].endswith(" (unpaired) |")


def test_one_run_has_no_difference(compare, runs):
    write_run(runs, "long", 0.1, epochs=9)
    assert compare(runs)[2].endswith("| 0.1000 | - |")


def test_classes_of_one_name_are_told_apart_and_shown_in_full(compare, runs):
    for seed in (0, 1):
        write_run(runs, f"mine-{seed}", 0.4, seed=seed, loss={"function": {"_target_": "mine.FocalLoss"}})
    assert settings_of(compare(runs)) == [
        "loss.function=multihot.loss.FocalLoss", BCE_ROW, "loss.function=mine.FocalLoss"
    ]  # fmt: skip


def test_values_that_look_alike_are_told_apart(compare, runs):
    for name, weight in (("bce-0", None), ("bce-1", "None"), ("focal-0", 1), ("focal-1", "1")):
        write_run(runs, name, 0.5, loss={"weight": weight})
    assert settings_of(compare(runs)) == ["loss.weight=null", 'loss.weight="None"', "loss.weight=1", 'loss.weight="1"']


def test_a_class_in_place_of_nothing_is_one_column(compare, runs, tmp_path):
    for seed in (0, 1):
        write_run(runs, f"bce-{seed}", 0.5, seed=seed, head={"layer": None})
        write_run(runs, f"focal-{seed}", 0.4, seed=seed, head={"layer": {"_target_": "multihot.CSRA"}})
    assert settings_of(compare(runs, "--csv", tmp_path / "runs.csv")) == ["head.layer=None", "head.layer=CSRA"]
    assert (tmp_path / "runs.csv").read_text().startswith("head.layer,mixed,runs,seeds,")


def test_other_and_uncommitted_code_is_said(warn, runs):
    write(runs / "bce-0/code.json", {"commit": "a" * 40, "dirty": False})
    write(runs / "bce-1/code.json", {"commit": None, "dirty": False})
    assert warn(runs) == []
    write(runs / "focal-0/code.json", {"commit": "b" * 40, "dirty": True, "versions": {"torch": "2"}})
    assert warn(runs) == [
        "warning: the runs were made by 2 commits of the code (bbbbbbbb: focal-0; aaaaaaaa: bce-0)",
        "warning: the code had changes that were not committed: focal-0",
    ]
    write(runs / "focal-0/code.json", {"commit": "a" * 40, "went_on_with": {"commit": "c" * 40, "dirty": True}})
    assert warn(runs)[0].endswith("2 commits of the code (aaaaaaaa: focal-0, bce-0; cccccccc: focal-0)")
    assert warn(runs)[1].endswith("focal-0")


def test_a_bar_in_a_value_stays_in_its_cell(compare, runs):
    write_run(runs, "other", 0.1, sep="|")
    row = compare(runs)[2]
    assert row.startswith(r"| loss.function=BinaryCrossEntropy sep=\| | 1 |")


def test_the_csv_has_a_column_a_setting_and_all_digits(compare, runs, tmp_path):
    write_run(runs, "long", 1 / 3, epochs=9)
    compare(runs, "--csv", tmp_path / "runs.csv")
    best, _, last = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    assert (best["loss.function"], best["epochs"], best["runs"]) == ("FocalLoss", "3", "2")
    assert (float(best["val/map"]), float(best["val/map std"])) == pytest.approx((0.81, 0.02 / 2**0.5))
    assert best["folders"] == "focal-0 focal-1"
    assert (last["epochs"], float(last["val/map"]), last["val/map std"]) == ("9", 1 / 3, "")


def test_the_text_says_what_the_numbers_are(tell, runs, tmp_path):
    _, output, _ = tell(runs, "--html", tmp_path / "runs.html")
    for text in (output, (tmp_path / "runs.html").read_text()):
        assert "± is the sample standard deviation (n-1) over runs, not the error of the mean." in text
        assert "not what other images would give" in text


def test_the_page_holds_the_table_and_needs_nothing_else(compare, runs, tmp_path):
    write_run(runs, "markup", 0.1, epochs=3, note="<script>alert(1)</script>")
    compare(runs, "--html", tmp_path / "runs.html")
    page = (tmp_path / "runs.html").read_text()
    assert re.findall(r">(-?[\d.]+ ± [\d.]+|0.1000)</td>", page) == [
        "0.2500 ± 0.0000", "0.8100 ± 0.0141", "0.2500 ± 0.0000", "0.6000 ± 0.1414", "-0.2100 ± 0.0900", "0.1000"
    ]  # fmt: skip
    assert page.count("<circle") == 5
    assert "<script>alert" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_it_does_not_wait_for_torch():
    code = "import sys, runpy; runpy.run_path('scripts/compare_runs.py'); print('torch' in sys.modules)"
    folder = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def write_decided(folder, name, decided_by, score="micro_f1", **changes):
    write_run(folder, name, 0.5, **changes)
    told = {} if decided_by is ... else {"threshold": decided_by}
    write(folder / name / "val/metrics.json", {"map": 0.5, score: 0.4, **told})


def test_scores_of_other_thresholds_are_not_pooled(tell, tmp_path):
    for seed, threshold in enumerate([0.5, 0.5, 0.3, [0.1, 0.9]]):
        write_decided(tmp_path, f"a-{seed}", threshold, seed=seed)
    worked, table, said = tell(tmp_path, "--score", "val/micro_f1", "--by", "epochs")
    assert worked
    assert settings_of(table.splitlines()[2:5]) == [f"val.threshold={told}" for told in ("0.5", "0.3", "[0.1, 0.9]")]
    assert "val was decided by 3 different thresholds" in said
    worked, table, said = tell(tmp_path)  # val/map does not depend on it
    assert "| 4 |" in table
    assert "the scores shown do not depend on it" in said
    assert "known ones: val/map, val/micro_f1" in tell(tmp_path, "--score", "val/threshold")[2]


def test_scores_of_other_fitted_decisions_are_not_pooled(tell, tmp_path):
    for seed, aim in enumerate(["MicroF1, val", "MicroF1, val", "Recall, val"]):
        write_run(tmp_path, f"a-{seed}", 0.5, seed=seed)
        decided_by = {"threshold": 0.5, "decisions": {"description": aim, "sha256": str(seed)}}
        (tmp_path / f"a-{seed}/test").mkdir()
        write(tmp_path / f"a-{seed}/test/metrics.json", {"micro_f1": 0.4, "fitted_micro_f1": 0.5, **decided_by})
    worked, table, said = tell(tmp_path, "--score", "test/fitted_micro_f1", "--by", "epochs")
    assert worked
    assert settings_of(table.splitlines()[2:4]) == ["test.decisions=MicroF1, val", "test.decisions=Recall, val"]
    assert "test was decided by 2 different decisions" in said
    assert "| 3 |" in tell(tmp_path, "--score", "test/micro_f1", "--by", "epochs")[1]  # by 0.5 in all of them


def test_a_threshold_that_is_not_written_down_is_said(tell, tmp_path):
    own = {"threshold": None, "activation": "sigmoid"}
    write_decided(tmp_path, "new", 0.5, seed=0, **own)
    write_decided(tmp_path, "old", ..., seed=1, **own)
    said = tell(tmp_path, "--score", "val/micro_f1")[2]
    assert "by which threshold val was decided is not written down for old" in said
    write(tmp_path / "old/history.json", [{"epoch": 3, "val/map": 0.5, "val/micro_f1": 0.4}])
    assert "threshold" not in tell(tmp_path, "--score", "val/micro_f1")[2]
