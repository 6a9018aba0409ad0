"""Every part of scripts/benchmark.py runs, on few images and a tiny model, and prints what it measured."""

import re
import sys
from pathlib import Path

import pytest
from conftest import REPO, SMALL, compose_config, load_script

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
    module = sys.modules["benchmark_scores"]
    models, real = [], module.predict

    def predict(accelerator, model, *args, **named):
        models.append(model)
        return real(accelerator, model, *args, **named)

    monkeypatch.setattr(module, "predict", predict)
    monkeypatch.setattr(module, "METRIC_SIZES", ((20, 10), (30, 5)))
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
    module = sys.modules["benchmark_scores"]
    monkeypatch.setattr(module, "PEER_SIZE", (40, 3))
    monkeypatch.setattr(module, "PEER_RESAMPLES", 2)
    printed = measure("intervals", "intervals_size=[30,5]", "num_resamples=3")
    assert re.search(rf"all scores of 3 resamples of 30 images x 5 labels: {NUMBER} s, peak \+ {NUMBER} GB", printed)
    assert re.search(rf"mAP of 2 resamples of 40 images x 3 labels: {NUMBER} s; torchmetrics.*; {RATIO}", printed)


def test_features_are_compared_with_the_bare_model(measure):
    printed = measure("features", "mixed_precision=no", "kernels=default")
    assert re.search(
        rf"features, vit_tiny.*: {NUMBER} images/s; the bare model on cached batches: {NUMBER}; {RATIO}", printed
    )


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
        if command[0] not in [other[0] for other in timed]:  # each program once
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


def test_starts_are_compared_with_their_imports_and_with_timms(measure, monkeypatch, tmp_path):
    module, commands, timed = sys.modules["benchmark_start"], [], iter(range(100))

    def time_start(action) -> tuple[float, float]:
        action()
        number = next(timed) % 5
        return 4.0 + 2 * number, 2.0 + 3 * number  # the imports come first

    monkeypatch.setattr(module, "wait_for", lambda command, words: commands.append((command[1:], words)))
    monkeypatch.setattr(module, "time_start", time_start)
    (tmp_path / "timm.py").touch()
    printed = measure("start", f"timm_train={tmp_path}/timm.py")
    photos, timm = commands[3][0], commands[4][0]
    assert commands[:5] == commands[5:]  # a round that does not count and one that does
    assert commands[1] == ([str(REPO / "train.py"), "--help"], "Groups")
    assert photos[-len(module.PLAIN) :] == module.PLAIN
    assert [Path(timm[0]).name, commands[4][1]] == ["timm.py", "Train: 0"]
    assert "train.py on 8 photos: 11.00 s of the processor, 10.00 s; 5.50 and 2.50 times import torch" in printed
    assert "timm's train.py on these photos: 14.00 s of the processor, 12.00 s; 7.00 and 3.00 times" in printed
    with pytest.raises(InputError, match=r"is no file: give train.py of a clone"):
        measure("start", "timm_train=nowhere.py")


def test_timm_is_given_the_images_in_two_classes(script, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    images = [folder / f"{number}.jpg" for number in range(8)]
    for image in images:
        image.write_text(image.name)
    command, _ = sys.modules["benchmark_start"].start_of_timm("timm.py", images, tmp_path, "vit")
    found = sorted(path.resolve().name for path in (tmp_path / "classes/validation/class1").iterdir())
    assert found == ["1.jpg", "3.jpg", "5.jpg", "7.jpg"]
    assert str(tmp_path / "classes") in command


@pytest.mark.slow
def test_the_first_update_on_photos_is_waited_for(measure, monkeypatch):
    module, seen = sys.modules["benchmark_start"], []
    real = module.wait_for

    def wait_for(command: list[str], words: str) -> None:
        if "data=csv" in command and command not in seen:  # once; others run train.py on the digits
            seen.append(command)
            real(command, words)

    monkeypatch.setattr(module, "wait_for", wait_for)
    monkeypatch.setattr(module, "time_start", lambda action: (action() or 1.0, 1.0))
    assert "train.py on 8 photos: " in measure("start")
    assert len(seen) == 1


def test_a_command_that_never_prints_the_words_is_no_time(script):
    with pytest.raises(AssertionError, match="never printed 'ready'"):
        sys.modules["timing"].wait_for(["echo", "gone"], "ready")


def test_rounded_weights_take_half_of_the_memory(measure):
    printed = measure("weights")
    kept, whole = map(int, re.search(r"(\d+) MB rounded, (\d+) in float32", printed).groups())
    assert kept <= whole
    assert (
        len(re.findall(rf"at once: \d+ ms, \d+ with float32; {RATIO}; logits differ by 0e\+00 at most", printed)) == 2
    )


def test_help_explains_every_part_and_the_settings_of_its_own(measure):
    text = (REPO / "conf/hydra/help/benchmark.yaml").read_text()
    with pytest.raises(InputError, match=r"parts=\[all\]: expected a list, each one of loop, ") as error:
        measure("all")
    parts = str(error.value).partition("each one of ")[2].partition(" and none twice")[0].split(", ")
    assert len(parts) == 16
    assert [part for part in parts if f" {part}: " not in text] == []
    own = set(compose_config("benchmark", [])) - set(compose_config("train", []))
    assert [name for name in own if f"\n    {name} " not in text] == []


def test_tracking_needs_a_tracker(measure):
    with pytest.raises(InputError, match="needs a tracker: tracker=wandb"):
        measure("tracking")


def test_an_epoch_beside_timms_needs_its_script(measure):
    with pytest.raises(InputError, match=r"timm_train=None is no file: give train.py of a clone"):
        measure("train")


def test_both_trainings_are_told_the_same(script, tmp_path):
    from benchmark_train import train, train_timm, write_length

    folder = write_length(tmp_path / "length", [__file__], 5)
    assert len(list(folder.rglob("train/*/*"))) == 5
    same = {"model": "vit_tiny_patch16_224", "image_size": 32, "batch_size": 4}
    _, *ours = train(tmp_path, iter([0]), "no", folder, **same)
    cfg = compose_config("train", ours)
    assert (cfg.batch_size, cfg.model.image_size, list(cfg.augment.scale)) == (4, 32, [0.5, 1.0])
    timm = train_timm("train.py", tmp_path, "bfloat16", folder, **same)
    for words in (f"--lr {cfg.optimizer.lr}", f"--weight-decay {cfg.optimizer.weight_decay}", "--scale 0.5 1.0"):
        assert words in " ".join(timm)
    assert timm[-2:] == ["--amp-dtype", "bfloat16"]
