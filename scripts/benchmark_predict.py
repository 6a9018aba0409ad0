"""Times scripts/predict.py and programs of others on the same weights and photos, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path

from timing import report

from multihot.errors import InputError

SCRIPTS = Path(__file__).resolve().parent
PIPELINE_SIZES = (1, 8, 32)  # images in a batch of the pipeline, that are tried first
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}

Command = Callable[[Path], list[str]]  # of a folder of images


def compare_programs(
    run: Path, images: Sequence[str], *, precision: str, batch_size: int, steps: Sequence[int], num_rounds: int,
    timm_inference: str | None,
) -> None:  # fmt: skip
    """Prints images a second of each program, by how much longer it takes for more images.

    Args:
        precision: of the run, no | bf16 | fp16; the others compute in it too, and in float32 as they do by default.
        steps: batches of the two lengths.
        timm_inference: inference.py of timm's repository; None: left out.
    """
    work = run.parent
    lengths = [link_images(work / f"images{num_batches}", images, num_batches * batch_size) for num_batches in steps]
    programs = {f"scripts/predict.py in {PRECISIONS[precision]}": partial(predict, run, work, count())}
    for name in dict.fromkeys((PRECISIONS["no"], PRECISIONS[precision])):
        size = try_sizes(run / "best", lengths[0], name)
        title = f"transformers' pipeline in {name}, batches of {size}"
        programs[title] = partial(run_pipeline, run / "best", name, (size,))
        if timm_inference is not None:
            programs[f"timm's inference.py in {name}"] = partial(
                run_inference, timm_inference, run / "best", name, batch_size, work
            )
    times = time_programs(programs, lengths, num_rounds)
    (own, own_times), *others = times.items()
    for other, other_times in others:
        report(own, (steps[1] - steps[0]) * batch_size, own_times, other, other_times)


def check_peers(timm_inference: str | None) -> None:
    """Raises InputError if a program of others is not there."""
    if find_spec("transformers") is None:
        raise InputError('parts=[predict] needs transformers: pip install -e ".[test]"')
    if timm_inference is not None:
        check_script("timm_inference", timm_inference, "inference.py")


def check_script(setting: str, path: str | None, name: str) -> None:
    """Raises InputError unless a setting names a file: a script of timm's repository."""
    if path is None or not os.path.isfile(path):
        raise InputError(
            f"{setting}={path} is no file: give {name} of a clone of "
            "https://github.com/huggingface/pytorch-image-models"
        )


def link_images(folder: Path, images: Sequence[str], num_images: int) -> Path:
    """Returns a folder of so many links to images, each as often as is needed."""
    folder.mkdir()
    for number, image in enumerate(islice(cycle(images), num_images)):
        (folder / f"{number:06}{Path(image).suffix}").symlink_to(Path(image).absolute())
    return folder


def predict(run: Path, work: Path, numbers: count, images: Path) -> list[str]:
    """Returns our command."""
    out = work / f"{next(numbers)}.jsonl"
    return [str(SCRIPTS / "predict.py"), f"run={run}", f"images={images}", f"out={out}"]


def run_pipeline(best: Path, precision: str, sizes: Sequence[int], images: Path) -> list[str]:
    """Returns the command of transformers' pipeline."""
    return [str(SCRIPTS / "run_pipeline.py"), str(best), str(images), precision, *map(str, sizes)]


def run_inference(script: str, best: Path, precision: str, batch_size: int, work: Path, images: Path) -> list[str]:
    """Returns the command of timm's inference.py, which writes all probabilities as the others do."""
    options = {
        "--data-dir": images, "--model": f"local-dir:{best}", "--device": "cpu", "--batch-size": batch_size,
        "--topk": 1_000_000, "--label-type": "none", "--results-file": work / "inference.csv",
    }  # fmt: skip
    flags = ["--include-index", "--no-console-results"]
    if precision != PRECISIONS["no"]:
        flags += ["--amp", "--amp-dtype", precision]
    return [script, *(str(part) for option in options.items() for part in option), *flags]


def try_sizes(best: Path, images: Path, precision: str) -> int:
    """Returns the size of batches at which the pipeline is fastest."""
    return json.loads(run_python(run_pipeline(best, precision, PIPELINE_SIZES, images)).splitlines()[-1])["fastest"]


def time_programs(programs: Mapping[str, Command], lengths: Sequence[Path], num_rounds: int) -> dict[str, list[float]]:
    """Returns the seconds that each program takes for the second folder beyond those for the first, in each round."""
    times = {name: [] for name in programs}
    for _ in range(num_rounds):
        for name, command in programs.items():
            short, long = (time_python(command(images)) for images in lengths)
            times[name].append(long - short)
    return times


def time_python(command: Sequence[str]) -> float:
    """Returns the seconds that a command of Python takes."""
    start = time.perf_counter()
    run_python(command)
    return time.perf_counter() - start


def run_python(command: Sequence[str]) -> str:
    """Returns what a command of Python prints."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stderr}"
    return done.stdout
