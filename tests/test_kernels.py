import logging

import pytest
import torch

from multihot.errors import InputError
from multihot.model import kernels
from multihot.model.kernels import DEFAULT, KERNELS, Compute, Trial, choose_compute, use_kernels

MODEL = {"name": "vit_tiny_patch16_224", "image_size": 32, "kwargs": {"embed_dim": 48, "depth": 2, "num_heads": 2}}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def default_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "TRIAL_SECONDS", 0.1)
    kernels.fastest.cache_clear()
    yield
    use_kernels(DEFAULT)


def create():
    import timm

    return timm.create_model(MODEL["name"], img_size=32, **MODEL["kwargs"])


@pytest.mark.parametrize("choice", KERNELS)
def test_all_kernels_give_the_same_logits_to_rounding(choice):
    expected = Trial(Compute("no", DEFAULT), create).logits
    logits = Trial(Compute("no", choice), create).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_kernels_act_on_the_models_created_after_the_choice():
    use_kernels("unfused-medium")
    assert not create().blocks[0].attn.fused_attn
    assert torch.get_float32_matmul_precision() == "medium"
    use_kernels("fused-highest")
    assert create().blocks[0].attn.fused_attn
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_trial_takes_the_fastest_candidate_and_says_so(monkeypatch, caplog):
    speeds = {"fused-highest": 0.02, "unfused-highest": 0.01, "fused-medium": 0.03, "unfused-medium": 0.04}
    monkeypatch.setattr(Trial, "step", lambda trial: trial.seconds.append(speeds[trial.compute.kernels]))
    with caplog.at_level(logging.INFO, "multihot"):
        assert choose_compute("no", "auto", **MODEL, device=CPU) == Compute("no", "unfused-highest")
    assert "2.00 times" in caplog.text


def test_arguments_may_be_lists_and_mappings(monkeypatch):
    monkeypatch.setattr(Trial, "step", lambda trial: trial.seconds.append(1.0))
    kwargs = {**MODEL["kwargs"], "patch_size": [8, 16], "pretrained_cfg_overlay": {"mean": [0.5, 0.5, 0.5]}}
    assert choose_compute("no", "auto", **{**MODEL, "kwargs": kwargs}, device=CPU) == Compute("no", DEFAULT)


def test_a_candidate_with_other_logits_cannot_win(monkeypatch):
    monkeypatch.setattr(
        Trial, "step", lambda trial: trial.seconds.append(1.0 if trial.compute.kernels == DEFAULT else 0.1)
    )
    monkeypatch.setattr(Trial, "agrees_with", lambda trial, logits: trial.compute.kernels == DEFAULT)
    assert choose_compute("no", "auto", **MODEL, device=CPU) == Compute("no", DEFAULT)


@pytest.mark.parametrize("mixed_precision", ["auto", "bf16"])
def test_where_bf16_gives_other_logits_the_trial_goes_on_without_it(monkeypatch, mixed_precision):
    monkeypatch.setattr(kernels, "has_bf16", lambda device: True)
    monkeypatch.setattr(Trial, "agrees_with", lambda trial, logits: trial.compute.mixed_precision == "no")
    expected = "no" if mixed_precision == "auto" else "bf16"  # what was asked for stays, with the default kernels
    assert choose_compute(mixed_precision, "auto", **MODEL, device=CPU).mixed_precision == expected


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="needs a GPU"):
        choose_compute("fp16", "auto", **MODEL, device=CPU)


def test_a_wrong_name_or_argument_is_named_before_the_trial():
    with pytest.raises(InputError, match="Similar names: vit_tiny_patch16_224"):
        choose_compute("no", "auto", **{**MODEL, "name": "vit_tiny_patch16_242"}, device=CPU)
    with pytest.raises(InputError, match="embed_dims"):
        choose_compute("no", "auto", **{**MODEL, "kwargs": {"embed_dims": 3}}, device=CPU)


def test_float32_is_taken_where_bf16_is_slower(monkeypatch):
    monkeypatch.setattr(kernels, "has_bf16", lambda device: True)
    monkeypatch.setattr(
        Trial, "step", lambda trial: trial.seconds.append(2.0 if trial.compute.mixed_precision == "bf16" else 1.0)
    )
    assert choose_compute("auto", "auto", **MODEL, device=CPU).mixed_precision == "no"
    kernels.fastest.cache_clear()
    monkeypatch.setattr(Trial, "step", lambda trial: trial.seconds.append(1.0))
    assert choose_compute("auto", "auto", **MODEL, device=CPU).mixed_precision == "bf16"


def test_a_real_trial_leaves_the_random_state_as_it_was():
    before = torch.get_rng_state()
    assert choose_compute("no", "auto", **MODEL, device=CPU).kernels in KERNELS
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_tried_where_the_choice_is_made_or_on_cuda(monkeypatch):
    monkeypatch.setattr(kernels, "fastest", None)
    monkeypatch.setattr(kernels, "has_bf16", lambda device: True)
    assert choose_compute("bf16", "unfused-medium", **MODEL, device=CPU) == Compute("bf16", "unfused-medium")
    assert choose_compute("no", "unfused-medium", **MODEL, device=torch.device("cuda")) == Compute("no", DEFAULT)
    assert choose_compute("auto", "default", **MODEL, device=CPU) == Compute("bf16", DEFAULT)
    assert choose_compute("auto", "auto", **MODEL, device=torch.device("cuda")) == Compute("bf16", DEFAULT)


def test_a_mistyped_choice_lists_the_right_ones():
    with pytest.raises(InputError, match="unfused-medium"):
        choose_compute("no", "flash", **MODEL, device=CPU)
    with pytest.raises(InputError, match="auto, no, fp16, bf16"):
        choose_compute("bfloat16", "auto", **MODEL, device=CPU)


def test_a_trial_is_made_once_a_machine_and_model(monkeypatch, caplog, tmp_path):
    memory, trials = tmp_path / "cache" / "kernels.json", []
    monkeypatch.setattr(kernels, "fastest", lambda *trial: trials.append(trial) or Compute("no", "fused-medium"))
    with caplog.at_level(logging.INFO, "multihot"):
        for _ in range(2):
            assert choose_compute("no", "auto", **MODEL, device=CPU, memory=memory) == Compute("no", "fused-medium")
    assert len(trials) == 1
    assert f"delete {memory} to try again" in caplog.text
    monkeypatch.setattr(kernels, "name_chip", lambda: "another")
    choose_compute("no", "auto", **MODEL, device=CPU, memory=memory)
    choose_compute("no", "auto", **{**MODEL, "image_size": 64}, device=CPU, memory=memory)
    assert len(trials) == 3
    memory.write_text("{")
    choose_compute("no", "auto", **MODEL, device=CPU, memory=memory)
    assert len(trials) == 4
