"""Which kernels and precision are fastest on this machine, found by a short trial of the real model.

On a CPU the same model trains up to twice as fast with timm's unfused attention or another matmul precision, and
bfloat16 that the chip has need not be faster than float32. Which is best differs from chip to chip, so it is measured.
On CUDA nothing is tried: torch's fused attention stays, and mixed precision follows the hardware.
"""

import contextlib
import itertools
import json
import logging
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import timm
import torch
from timm.data import resolve_input_data_config
from timm.layers import set_fused_attn
from torch import nn

from multihot.errors import InputError, check_choice
from multihot.files import read_json, write_json
from multihot.model.architecture import build_timm, check_model

log = logging.getLogger(__name__)

ATTENTION = {"fused": True, "unfused": False}
MATMUL_PRECISION = ("highest", "medium")
KERNELS = tuple("-".join(pair) for pair in itertools.product(ATTENTION, MATMUL_PRECISION))
DEFAULT = KERNELS[0]
TRIAL_SECONDS = 2.0  # of timing, after each candidate has been warmed up
TRIAL_BATCH_SIZE = 16  # fewer images fit into the cache and flatter the unfused attention
TRIAL_BLOCKS = 3  # of the transformer; all are alike
HOPELESS = 1.3  # times the seconds of the fastest: not tried again
WORTHWHILE = 1.05  # a choice must be this much faster than the one before it, or the timing was noise
TOLERANCE = {"no": 1e-4, "bf16": 5e-2}  # of the largest logit; the kernels must agree up to rounding


@dataclass(frozen=True)
class Compute:
    """How the model computes: `mixed_precision` no | fp16 | bf16, `kernels` one of KERNELS."""

    mixed_precision: str
    kernels: str


def use_kernels(kernels: str) -> None:
    """Makes the kernels the ones of all models created from now on."""
    attention, precision = kernels.split("-")
    set_fused_attn(ATTENTION[attention])
    torch.set_float32_matmul_precision(precision)


def pick_architecture(model: Mapping) -> dict:
    """Returns those settings of a model that decide how fast it is trained."""
    size = model.get("train_image_size") or model["image_size"]  # runs of before have no train_image_size
    return {"name": model["name"], "image_size": size, "kwargs": model["kwargs"]}


def choose_compute(
    mixed_precision: str,
    kernels: str,
    *,
    name: str,
    image_size: int | None,
    kwargs: dict,
    device: torch.device,
    memory: Path | None = None,
) -> Compute:
    """Returns what to compute with; `auto` in either setting is decided by the hardware and, on a CPU, by a trial.

    The trial runs the timm model `name` with random weights, and leaves torch's random state as it was.

    Args:
        memory: a file of what trials have found on this machine, which are not made again; None: there is none.
    """
    check_choice("kernels", kernels, ("auto", "default", *KERNELS))
    check_choice("mixed_precision", mixed_precision, ("auto", "no", "fp16", "bf16"))
    precisions = (mixed_precision,) if mixed_precision != "auto" else ("bf16", "no") if has_bf16(device) else ("no",)
    if ":" not in name:
        check_model(name, image_size, kwargs)
    if device.type != "cpu":
        return Compute(precisions[0], DEFAULT)
    if mixed_precision == "fp16":
        raise InputError("mixed_precision=fp16 needs a GPU; on a CPU choose bf16, no or auto")
    if kernels != "auto":
        return Compute(precisions[0], DEFAULT if kernels == "default" else kernels)
    candidates = tuple(
        Compute(precision, choice)
        for precision, choice in itertools.product(precisions, KERNELS)
        if precision == "no" or choice.endswith("highest")  # under autocast no float32 matmul is left
    )
    of_model = json.dumps({**kwargs, "img_size": image_size}, sort_keys=True)
    key = describe_trial(candidates, name, of_model)
    found = recall(memory, key)
    if found in candidates:
        log.info(
            "mixed precision %s with %s kernels were the fastest in a trial before (delete %s to try again)",
            found.mixed_precision, found.kernels, memory,
        )  # fmt: skip
        return found
    found = fastest(candidates, name, of_model)
    remember(memory, key, found)
    return found


def describe_trial(candidates: Sequence[Compute], name: str, of_model: str) -> str:
    """Returns what the result of a trial depends on: chip, cores, versions, the model and its size."""
    chip = {"chip": name_chip(), "instructions": torch.backends.cpu.get_cpu_capability()}
    versions = {"torch": torch.__version__, "timm": timm.__version__}
    tried = [f"{candidate.mixed_precision} {candidate.kernels}" for candidate in candidates]
    described = {**chip, "threads": torch.get_num_threads(), **versions, "model": name, "settings": of_model}
    return json.dumps({**described, "tried": tried})


def name_chip() -> str:
    """Returns what the CPU calls itself, "" where nothing tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def recall(memory: Path | None, key: str) -> Compute | None:
    """Returns what a trial has found before; None if none was made, or what is noted of it cannot be read."""
    if memory is None or not memory.exists():
        return None
    try:
        found = read_json(memory, {...: str}).get(key)
    except InputError:
        return None
    return None if found is None else Compute(*found.split())


def remember(memory: Path | None, key: str, found: Compute) -> None:
    """Notes what a trial has found, beside what others have; where it cannot, the next one makes the trial again."""
    if memory is None:
        return
    try:
        known = read_json(memory, {...: str}) if memory.exists() else {}
    except InputError:
        known = {}
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {**known, key: f"{found.mixed_precision} {found.kernels}"})


@cache
def fastest(candidates: tuple[Compute, ...], name: str, kwargs: str) -> Compute:
    """Returns the fastest candidate for a model; the jobs of a sweep in one process share one trial.

    Args:
        kwargs: arguments of the model as JSON, which unlike their lists and dicts can be looked up.
    """
    speeds = time_candidates(candidates, lambda: build_timm(name, **json.loads(kwargs)))
    if not speeds:
        return candidates[0]
    best = first = next(iter(speeds))
    for candidate in speeds:
        if speeds[candidate] > WORTHWHILE * speeds[best]:
            best = candidate
    log.info(
        "trial: mixed precision %s with %s kernels trains at %.2f times the speed of %s with %s",
        best.mixed_precision, best.kernels, speeds[best] / speeds[first],
        first.mixed_precision, first.kernels,
    )  # fmt: skip
    return best


def has_bf16(device: torch.device) -> bool:
    """Returns whether the device computes in bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def time_candidates(candidates: tuple[Compute, ...], create: Callable[[], nn.Module]) -> dict[Compute, float]:
    """Returns the images a second of a training step with each candidate, those left out whose logits are wrong."""
    with torch.random.fork_rng(devices=[]):
        trials = {candidate: Trial(candidate, create) for candidate in candidates}
        plain = Compute("no", DEFAULT)
        reference = (trials.get(plain) or Trial(plain, create)).logits
        fair = [trial for trial in trials.values() if trial.agrees_with(reference)]
        deadline = time.perf_counter() + TRIAL_SECONDS
        racing = fair
        while racing:
            for trial in racing:
                trial.step()
            best = min(trial.best_seconds() for trial in racing)
            racing = [trial for trial in racing if trial.best_seconds() < HOPELESS * best]
            if time.perf_counter() > deadline:
                break
    return {trial.compute: TRIAL_BATCH_SIZE / trial.best_seconds() for trial in fair}


class Trial:
    """One model with one way to compute, stepped and timed in turn with the others."""

    def __init__(self, compute: Compute, create: Callable[[], nn.Module]):
        self.compute = compute
        self.seconds = []
        use_kernels(compute.kernels)
        torch.manual_seed(0)
        self.model = create()
        if isinstance(getattr(self.model, "blocks", None), nn.Sequential | nn.ModuleList):
            del self.model.blocks[TRIAL_BLOCKS:]
        _, *size = resolve_input_data_config(self.model)["input_size"]
        self.image = torch.randn(TRIAL_BATCH_SIZE, 3, *size)
        with torch.no_grad():
            self.logits = self.forward()

    def forward(self) -> torch.Tensor:
        """Returns the logits (B, C) as float32."""
        use_kernels(self.compute.kernels)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.compute.mixed_precision == "bf16"):
            return self.model(self.image).float()

    def best_seconds(self) -> float:
        """Returns the time of the fastest step."""
        return min(self.seconds)

    def step(self) -> None:
        """Times one forward and backward pass; the first time, which also warms up, two."""
        if not self.seconds:
            self.forward().square().mean().backward()
        start = time.perf_counter()
        self.forward().square().mean().backward()
        self.seconds.append(time.perf_counter() - start)

    def agrees_with(self, logits: torch.Tensor) -> bool:
        """Returns whether this trial's logits are those given, up to the rounding of its precision."""
        return bool((self.logits - logits).abs().max() <= TOLERANCE[self.compute.mixed_precision] * logits.abs().max())
