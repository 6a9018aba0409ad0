"""Every part of scripts/benchmark.py runs, on few images and a tiny model, and prints what it measured."""

import re
import sys
from pathlib import Path

import pytest
from conftest import REPO, SMALL, SMALL_DIGITS, compose_config, load_script

from multihot.errors import InputError

TINY = [*SMALL, "batch_size=4", "num_steps=2", "num_rounds=1", "model.name=vit_tiny_patch16_224", "model.image_size=32"]
TINY += ["+model.kwargs.embed_dim=24", "+model.kwargs.num_heads=2", "+model.kwargs.depth=1"]
NUMBER = r"[\d.]+"
RATIO = rf"ratio {NUMBER} \({NUMBER} to {NUMBER}\)"


@pytest.fixture
def script(monkeypatch):
    """The script as a module, with the modules that stand beside it."""
    monkeypatch.syspath_prepend(REPO / "scripts")
    return load_script("scripts/benchmark")


@pytest.fixture
def measure(script, capfd, tmp_path):
    """measure("loop", ...): runs one part, and returns what it printed."""

    def run(part: str, *overrides: str) -> str:
        settings = [*TINY, f"parts=[{part}]", f"runs_folder={tmp_path}", *overrides]
        capfd.readouterr()
        script.main.__wrapped__(compose_config("benchmark", settings))
        return capfd.readouterr().out

    return run


def test_loop_prints_the_ratio_to_a_bare_loop(measure):
    printed = measure("loop")
    assert re.search(
        rf"training loop, .*fused-highest kernels: {NUMBER} images/s; bare loop .*: {NUMBER}; {RATIO}", printed
    )


def test_kernels_are_compared_with_the_default_ones(measure):
    printed = measure("kernels", "kernels=unfused-highest")
    assert re.search(rf"no, unfused-highest kernels: .* no, fused-highest kernels: {NUMBER}; {RATIO}", printed)


def test_input_prints_each_stage(measure, tmp_path):
    printed = measure("input")
    for stage in ("decode", "augment", "loader", "loader and vit_tiny_patch16_224", "loader, data.cache=resized"):
        assert re.search(rf"^{stage}: {NUMBER} images/s", printed, re.MULTILINE), stage
    assert re.search(f"data.cache=none: {NUMBER}; {RATIO}", printed)
    assert not list(tmp_path.iterdir())  # copies of images stay in the temporary folder


def test_augmentation_is_measured_for_worker_and_device(measure):
    printed = measure("augment", "model.name=vit_tiny_patch16_224")
    assert (
        len(re.findall(rf"a worker takes {NUMBER} ms an image, with augment.device=true {NUMBER}; {RATIO}", printed))
        == 3
    )
    assert len(re.findall(rf"the other half on cpu: {NUMBER} images/s; an image of {NUMBER} KB travels", printed)) == 3


def test_checkpoint_prints_size_and_seconds(measure):
    assert re.search(
        rf"checkpoint of vit_tiny.* MB\): {NUMBER} s, .*images on \({NUMBER} images/s\)", measure("checkpoint")
    )


def test_tracking_compares_telling_with_training(measure):
    printed = measure("tracking", "tracker=wandb", "tracker.mode=offline")
    assert re.search(
        rf"telling wandb an update: {NUMBER} ms, {NUMBER}% of .* its own processes take {NUMBER}%", printed
    )


def test_metrics_are_timed_and_compared_with_predicting(measure, script, monkeypatch):
    models, real = [], script.predict

    def predict(accelerator, model, *args, **named):
        models.append(model)
        return real(accelerator, model, *args, **named)

    monkeypatch.setattr(script, "predict", predict)
    monkeypatch.setattr(script, "METRIC_SIZES", ((20, 10), (30, 5)))
    printed = measure("metrics", "data.bad_images=skip")
    for size in ("20 images x 10 labels", "30 images x 5 labels"):
        assert re.search(rf"all scores of {size}: {NUMBER} s, peak \+ {NUMBER} GB; {NUMBER} times a", printed)
    assert re.search(rf"that is {NUMBER}% of predicting 20 images with vit_tiny", printed)
    assert (models[0].embed_dim, len(models)) == (24, 2)  # of model.kwargs; a round that counts and one that does not


def test_losses_over_many_labels_are_compared_with_all_logits_at_once(measure, script, monkeypatch):
    module = sys.modules["benchmark_labels"]
    monkeypatch.setattr(module, "SIZE", (4, 8, 500))
    printed = measure("labels")
    for name in module.list_cases(500):
        for dtype in ("float32", "bfloat16"):
            assert re.search(
                rf"  {name}, {dtype}: {NUMBER} s, {NUMBER} MB; all at once {NUMBER} s, .*: {NUMBER} \(", printed
            )


def test_intervals_are_timed_and_compared_with_torchmetrics(measure, script, monkeypatch):
    monkeypatch.setattr(script, "PEER_SIZE", (40, 3))
    monkeypatch.setattr(script, "PEER_RESAMPLES", 2)
    printed = measure("intervals", "intervals_size=[30,5]", "num_resamples=3")
    assert re.search(rf"all scores of 3 resamples of 30 images x 5 labels: {NUMBER} s, peak \+ {NUMBER} GB", printed)
    assert re.search(rf"mAP of 2 resamples of 40 images x 3 labels: {NUMBER} s; torchmetrics.*; {RATIO}", printed)


@pytest.mark.slow
def test_manifest_is_read_and_weighed_in_a_process_of_its_own(measure, script, monkeypatch):
    for name, size in (("NUM_IMAGES", 2000), ("NUM_LABELS", 40)):
        monkeypatch.setitem(script.write_large_csv.__globals__, name, size)
    printed = measure("manifest")
    assert re.search(rf"2,000 images x 40 labels: {NUMBER} s, peak \+ {NUMBER} GB", printed)
    assert re.search(rf"each of 2 workers adds {NUMBER} MB", printed)


@pytest.mark.slow
def test_evaluation_is_timed_and_weighed_in_shares_and_in_memory(measure):
    printed = measure("evaluation", "evaluation_size=[300,20]")
    for way, peaks in (("in shares", NUMBER), ("in shares by two processes", f"{NUMBER} and {NUMBER}"),
                       ("all in memory", NUMBER)):  # fmt: skip
        assert re.search(
            rf"300 images x 20 labels {way}: predicting {NUMBER} s, scoring {NUMBER} s, peak {peaks} GB", printed
        )
    assert re.search(rf"seconds in shares / all in memory: {NUMBER} \({NUMBER} to {NUMBER}\)", printed)


@pytest.mark.slow
def test_predict_runs_the_pipeline_beside_it(measure, script, monkeypatch):
    module, timed = sys.modules["benchmark_predict"], []
    monkeypatch.setattr(module, "PIPELINE_SIZES", (4,))

    def time_python(command: list[str]) -> float:
        module.run_python(command)
        timed.append(command)
        return float(len(timed) ** 2)  # so tiny a model takes no time that could be told from the imports'

    monkeypatch.setattr(module, "time_python", time_python)
    printed = measure("predict", "mixed_precision=no")
    assert re.search(
        rf"predict.py in float32: .*; transformers' pipeline in float32, batches of 4: .* {RATIO}", printed
    )


def test_predict_is_timed_by_what_more_images_take(measure, script, monkeypatch, tmp_path):
    module, commands = sys.modules["benchmark_predict"], []
    (tmp_path / "inference.py").touch()

    def run_python(command: list[str]) -> str:
        commands.append(command)
        return '{"fastest": 8}'

    def time_python(command: list[str]) -> float:
        run_python(command)
        folder = next(Path(word.removeprefix("images=")) for word in command if "/images" in word)
        speed = 2 if "predict.py" in command[0] else 1
        return 100 + len(list(folder.iterdir())) / speed  # 100 seconds are imports, which count nothing

    monkeypatch.setattr(module, "run_python", run_python)
    monkeypatch.setattr(module, "time_python", time_python)
    printed = measure("predict", "mixed_precision=bf16", f"timm_inference={tmp_path}/inference.py")
    lines = [line for line in printed.splitlines() if line.startswith("scripts/predict.py")]
    own, same = "scripts/predict.py in bfloat16: 2.0 images/s", "1.0; ratio 2.00 (2.00 to 2.00)"
    assert lines == [
        f"{own}; {other}: {same}"
        for precision in ("float32", "bfloat16")
        for other in (
            f"transformers' pipeline in {precision}, batches of 8",
            f"timm's inference.py in {precision}",
        )
    ]
    assert [Path(command[0]).name for command in commands[2::2]] == [
        "predict.py", "run_pipeline.py", "inference.py", "run_pipeline.py", "inference.py"
    ]  # fmt: skip
    assert ["--amp" in command for command in commands[2::2]] == [False, False, False, False, True]
    with pytest.raises(InputError, match=r"is no file: give inference.py of a clone"):
        measure("predict", "timm_inference=nowhere.py")


@pytest.mark.slow
def test_startup_waits_for_help_and_for_the_first_step(measure, script, monkeypatch):
    real = script.wait_for

    def wait_for(command: list[str], words: str) -> None:
        real([*command, *(SMALL_DIGITS if "--help" not in command else [])], words)

    monkeypatch.setattr(script, "wait_for", wait_for)
    monkeypatch.setattr(script, "in_turn", lambda num_rounds, action: [[action() or 0.5] * num_rounds])
    assert re.findall(rf"(train.py .*): {NUMBER} s", measure("startup")) == [
        "train.py --help", "train.py to its first step, digits"
    ]  # fmt: skip


def test_a_command_that_never_prints_the_words_is_no_time(script):
    with pytest.raises(AssertionError, match="never printed 'ready'"):
        script.wait_for(["echo", "gone"], "ready")


def test_help_explains_every_part_and_the_settings_of_its_own(measure):
    text = (REPO / "conf/hydra/help/benchmark.yaml").read_text()
    with pytest.raises(InputError, match=r"parts=\[all\]: expected a list, each one of loop, ") as error:
        measure("all")
    parts = str(error.value).partition("each one of ")[2].partition(" and none twice")[0].split(", ")
    assert len(parts) == 12
    assert [part for part in parts if f" {part}: " not in text] == []
    own = set(compose_config("benchmark", [])) - set(compose_config("train", []))
    assert [name for name in own if f"\n    {name} " not in text] == []


def test_tracking_needs_a_tracker(measure):
    with pytest.raises(InputError, match="needs a tracker: tracker=wandb"):
        measure("tracking")
