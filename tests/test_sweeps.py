"""Sweeps as a user starts them, breaks them off and starts them again."""

import gc
import json
import statistics
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from conftest import REPO, SMALL_DIGITS, compose_config
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import OmegaConf
from safetensors.torch import load_file
from test_processes import begin, launch

from multihot.errors import InputError
from multihot.run.sweep import Job, SweepCallback, describe_error, name_job


def read_json(path):
    return json.loads(path.read_text())


def sweep_arguments(folder, *overrides):
    return ["train.py", "-m", *SMALL_DIGITS, f"runs_folder={folder}", *overrides]


@pytest.fixture
def sweep(tmp_path, call_script):
    """sweep("seed=0,1"): runs a sweep into tmp_path."""
    return lambda *overrides: call_script(*sweep_arguments(tmp_path, *overrides))


def table(printed):
    """Returns the rows of the table that ends a sweep: job, the job's own overrides, score, name of the run folder."""
    lines = iter(printed.splitlines())
    next(line for line in lines if line.startswith("job  overrides"))
    rows = [line.split() for line in iter(lambda: next(lines, ""), "")]
    return [(int(job), " ".join(own), score, folder.rpartition("/")[2]) for job, *own, score, folder in rows]


def same_weights(folder, other):
    weights, others = load_file(folder / "model.safetensors"), load_file(other / "model.safetensors")
    return all(weights[key].equal(others[key]) for key in weights)


# Names and numbers


def name_of(records, settings):
    return name_job(records, settings, "run-{}".format)


def test_the_same_settings_keep_their_number_and_new_ones_get_the_next(tmp_path):
    assert [name_of(tmp_path, settings) for settings in "abc"] == ["run-0", "run-1", "run-2"]
    assert [name_of(tmp_path, settings) for settings in "dcab"] == ["run-3", "run-2", "run-0", "run-1"]


def test_settings_that_are_told_in_other_words_keep_their_folder(tmp_path):
    name_job(tmp_path, "a", lambda number: f"run-{number}-seed_0-lr_1")
    assert name_job(tmp_path, "a", lambda number: f"run-{number}-lr_1-seed_0") == "run-0-seed_0-lr_1"


def test_jobs_that_start_at_the_same_time_get_different_numbers(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda settings: name_of(tmp_path, str(settings)), range(40)))
    assert sorted(names) == sorted(f"run-{number}" for number in range(40))


def test_a_start_killed_before_its_name_was_written_costs_one_number(tmp_path):
    (tmp_path / "0").touch()
    assert [name_of(tmp_path, "a"), name_of(tmp_path, "a")] == ["run-1", "run-1"]


# What a job comes to


def end_job(tmp_path, value, status):
    """Returns what hydra sees of a job after the callback, and what is written down."""
    hydra = {"mode": RunMode.MULTIRUN, "job": {"num": 3}, "sweep": {"dir": str(tmp_path)}, "sweeper": {}}
    job_return = JobReturn(overrides=["seed=1"], status=status)
    job_return.return_value = value
    job_return.cfg = OmegaConf.create({"name": None, "runs_folder": str(tmp_path)})
    SweepCallback().on_job_end(OmegaConf.create({"hydra": hydra, "name": None}), job_return)
    return job_return.return_value, read_json(tmp_path / "3.json")


def fail_with_a_model(error):
    """Returns the error with a traceback that holds an object, as that of a failed job holds its model, and that."""

    class Model:
        pass

    def train(model):
        raise error

    model = Model()
    try:
        train(model)
    except type(error):
        return error, weakref.ref(model)


def test_a_failed_job_leaves_nothing_in_memory(tmp_path):
    error, model = fail_with_a_model(InputError("wrong"))
    value, written = end_job(tmp_path, error, JobStatus.FAILED)
    assert value is None
    assert written == {
        "job": 3, "overrides": ["seed=1"], "folder": None, "given_up": None, "error": "wrong", "score": None,
    }  # fmt: skip
    del error
    gc.collect()
    assert model() is None


def test_a_bug_keeps_its_traceback(tmp_path, caplog):
    error, _ = fail_with_a_model(ZeroDivisionError("division by zero"))
    assert end_job(tmp_path, error, JobStatus.FAILED)[1]["error"] == "ZeroDivisionError: division by zero"
    assert "in train" in caplog.text


@pytest.mark.parametrize(("value", "score"), [(0.5, 0.5), (float("nan"), None), (None, None)])
def test_what_optuna_cannot_rank_is_no_score(tmp_path, value, score):
    assert end_job(tmp_path, value, JobStatus.COMPLETED)[0] == score


def test_a_mistake_is_told_by_its_first_line():
    assert describe_error(InputError("wrong\n  here")) == "wrong"
    wrapped = InstantiationException("Error in call to target")
    wrapped.__cause__ = InputError("loss.pos_weight has -1")
    assert describe_error(wrapped) == "loss.pos_weight has -1"


def made_up_histories():
    """Returns the scores of twelve trials of four epochs: each rises towards another height, in no order."""
    heights = [7 * trial % 12 for trial in range(12)]
    return [[{"epoch": epoch, "val/map": height * epoch} for epoch in range(5)] for height in heights]


def ends_by_the_median():
    """Returns after which epoch each trial ends if the sixth and later end below the median of those before."""
    histories, ends = made_up_histories(), []
    for trial, history in enumerate(histories):
        ends.append(4)
        for epoch in range(1, 4):
            before = [histories[other][epoch]["val/map"] for other in range(trial) if ends[other] >= epoch]
            if trial >= 5 and history[epoch]["val/map"] < statistics.median(before):
                ends[-1] = epoch
                break
    return ends


def ends_by_optuna(complete):
    """Returns after which epoch each trial ends; the first have ended before this start, after these epochs."""
    study, ends = pytest.importorskip("optuna").create_study(direction="maximize"), []
    for trial, history in enumerate(made_up_histories()):
        job = Job([], trial, study.ask())
        if trial < len(complete):
            ends.append(complete[trial])
        else:
            ends.append(next((epoch for epoch in range(4) if job.is_hopeless(history[: epoch + 1], "val/map")), 4))
        job.report(history[: ends[-1] + 1], "val/map")
        study.tell(job.trial, history[ends[-1]]["val/map"])
    return ends


def test_optuna_ends_trials_below_the_median_also_when_the_search_is_started_again():
    expected = ends_by_the_median()
    assert set(expected) == {1, 4}
    assert ends_by_optuna(complete=[]) == expected
    assert ends_by_optuna(complete=expected[:8]) == expected


def test_a_job_that_optuna_has_not_proposed_is_never_given_up():
    assert not Job([]).is_hopeless([{"epoch": 1, "val/map": 0.0}], "val/map")


# From here on in processes of their own.


def test_failed_jobs_are_listed_and_leave_the_others_as_if_run_alone(sweep, tmp_path, train):
    result = sweep("name=s", "optimizer.lr=1e30,5e-4", "loss.pos_weight=1,-1")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    alone = train("name=alone", "loss.pos_weight=1")
    rows = table(result.stdout)
    assert [row[:3] for row in rows] == [
        (0, "optimizer.lr=1e+30 loss.pos_weight=1", "failed"),
        (1, "optimizer.lr=1e+30 loss.pos_weight=-1", "failed"),
        (2, "optimizer.lr=0.0005 loss.pos_weight=1", f"{alone:.4f}"),
        (3, "optimizer.lr=0.0005 loss.pos_weight=-1", "failed"),
    ]
    assert same_weights(tmp_path / rows[2][3] / "last", tmp_path / "alone/last")
    [nan] = [line for line in result.stdout.splitlines() if line.startswith("job 0 failed: the loss is")]
    assert "optimizer.lr 10 times smaller" in nan
    assert "job 3 failed: loss.pos_weight=" in result.stdout
    assert "3 of 4 jobs failed; the same command does only these again" in result.stdout


def test_an_interrupted_sweep_started_again_does_only_what_is_missing(sweep, tmp_path, train):
    arguments = sweep_arguments(tmp_path, "name=s", "epochs=10", "log_every=1000")
    [process] = begin(tmp_path / "log", 1, *arguments, "seed=0,1,2")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        [history] = list(tmp_path.glob("s-1-*/history.json")) or [None]
        if history is not None and len(read_json(history)) >= 3:
            break
        time.sleep(0.02)
    process.terminate()
    process.join(60)
    assert process.exitcode == 75, (tmp_path / "log/log").read_text()
    assert sorted(path.parent.name[:3] for path in tmp_path.glob("s-*/finished.json")) == ["s-0"]
    written = next(tmp_path.glob("s-0-*/finished.json")).stat().st_mtime_ns

    result = sweep("name=s", "epochs=10", "log_every=1000", "seed=3,2,1,0")  # in another order, with one more
    assert result.returncode == 0, result.stderr
    assert [(own, folder[:3]) for _, own, _, folder in table(result.stdout)] == [
        ("seed=3", "s-2"),
        ("seed=2", "s-3"),
        ("seed=1", "s-1"),
        ("seed=0", "s-0"),
    ]
    assert next(tmp_path.glob("s-0-*/finished.json")).stat().st_mtime_ns == written
    train("name=alone", "epochs=10", "seed=1")
    [broken] = tmp_path.glob("s-1-*")
    assert same_weights(broken / "last", tmp_path / "alone/last")
    assert read_json(broken / "history.json") == read_json(tmp_path / "alone/history.json")


def test_two_processes_agree_on_the_jobs_and_print_one_table(tmp_path):
    arguments = ("name=s", "loss.pos_weight=-1,1,2", "seed=0")
    ended = launch(tmp_path / "log", 2, *sweep_arguments(tmp_path, *arguments))
    assert max(ended.codes) == 1  # what a launcher ends with
    assert ended.printed.count("job  overrides") == 1
    assert [own for _, own, _, _ in table(ended.printed)] == [f"loss.pos_weight={weight}" for weight in (-1, 1, 2)]
    assert sorted(path.name for path in (tmp_path / ".sweep/s").iterdir()) == ["0", "1"]  # none for what is refused
    assert all(len(list((path / "last").glob("random_states_*"))) == 2 for path in tmp_path.glob("s-[01]-*"))
    assert len(list(tmp_path.glob("s-*/finished.json"))) == 2


SPACE = ("optimizer.lr=tag(log,interval(1e-5,1e-2))", "loss=bce,asymmetric")


def test_a_search_started_again_with_more_trials_proposes_the_same_and_goes_on(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    arguments = ("name=s", "hydra/sweeper=search", *SPACE)
    first, second = (sweep(*arguments, f"hydra.sweeper.n_trials={count}") for count in (3, 4))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert len(table(first.stdout)) == 3
    assert table(second.stdout)[:3] == table(first.stdout)
    assert second.stdout.count("is complete: best score") == 3
    assert [folder[:3] for *_, folder in table(second.stdout)] == ["s-0", "s-1", "s-2", "s-3"]
    best = max(read_json(path)["score"] for path in tmp_path.glob("s-*/finished.json"))
    assert f"Best value: {best}" in second.stdout


def test_a_search_in_which_all_fails_ends_with_the_table(sweep):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    wrong = ("loss.pos_weight=-1", "optimizer.lr=interval(1e-5,1e-2)")
    result = sweep("name=s", "hydra/sweeper=search_photos", "hydra.sweeper.n_trials=2", *wrong)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert "2 of 2 jobs failed" in result.stdout


# A sweep that W&B steers


def agents_command(settings):
    """Returns the arguments with which W&B's agent calls train.py for some settings."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # seconds of CPU

    config = yaml.safe_load((REPO / "scripts/wandb_sweep.yaml").read_text())
    assert settings.keys() == config["parameters"].keys()
    words = create_sweep_command_args({"args": {name: {"value": value} for name, value in settings.items()}})
    words |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [config["program"]]}
    command = []
    for word in create_sweep_command(config["command"]):
        is_macro = word.startswith("${") and word.endswith("}")
        command += words[word.removeprefix("${").removesuffix("}")] if is_macro else [word]
    assert command[:3] == ["/usr/bin/env", "python", "train.py"]
    return command[3:]


def test_the_command_of_wandbs_agent_sets_what_it_says(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    settings = {"optimizer.lr": 2.5e-5, "optimizer.layer_decay": 0.7, "loss": "focal", "mix.mixup": 0.2}
    cfg = compose_config("train", agents_command(settings))
    assert (cfg.name, cfg.optimizer.lr, cfg.optimizer.layer_decay, cfg.mix.mixup) == ("wandb-abc", 2.5e-5, 0.7, 0.2)
    assert cfg.loss == compose_config("train", ["experiment=photos", "data.path=my.csv", "loss=focal"]).loss
    assert cfg.data.path == "my.csv"


def test_a_run_of_wandbs_sweep_keeps_the_id_that_wandb_gave_it(tmp_path):
    agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "abc", "WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline"}
    name = "name=wandb-${oc.env:WANDB_RUN_ID}"
    small = [word for word in SMALL_DIGITS if word != "tracker=none"]
    ended = launch(tmp_path / "log", 1, "train.py", *small, f"runs_folder={tmp_path}", name, **agent)
    assert ended.codes == [0], ended.printed
    assert read_json(tmp_path / "wandb-abc/tracker.json")["wandb_run_id"] == "abc"
    assert len(list(tmp_path.rglob("offline-run-*-abc"))) == 1
