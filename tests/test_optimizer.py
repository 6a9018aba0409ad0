from functools import partial

import pytest
import timm
import torch
from accelerate import Accelerator
from timm.scheduler import CosineLRScheduler

from multihot.model.features import HeadOnFeatures
from multihot.model.finetune import Head, LastBlocks, Lora
from multihot.training.optimizer import create_optimizer
from multihot.training.schedule import create_schedule

ADAMW = partial(torch.optim.AdamW, fused=True)
COSINE = partial(CosineLRScheduler, warmup_lr_init=1e-6)
DEPTH = 3


@pytest.fixture
def model():
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=24, depth=DEPTH, num_heads=2, num_classes=4
    )


def groups_by_name(model, optimizer):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group for group in optimizer.param_groups for parameter in group["params"]}


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_biases_norms_and_position_embeddings_do_not_decay(model, layer_decay):
    groups = groups_by_name(model, create_optimizer(model, ADAMW, 1e-3, weight_decay=0.1, layer_decay=layer_decay))
    assert set(groups) == {name for name, _ in model.named_parameters()}
    exempt = {name for name, group in groups.items() if group["weight_decay"] == 0}
    assert exempt == {
        name for name in groups if name.endswith("bias") or "norm" in name or name in ("pos_embed", "cls_token")
    }


def test_layer_decay_acts_on_the_rates_after_prepare_and_one_step(model):
    optimizer = create_optimizer(model, ADAMW, 1e-3, weight_decay=0.1, layer_decay=0.5)
    prepared, optimizer = Accelerator(cpu=True).prepare(model, optimizer)
    schedule = create_schedule(optimizer, COSINE, num_updates=100, warmup_fraction=0.0)
    prepared(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    schedule.step_update(50)
    groups = groups_by_name(model, optimizer)
    # half-way down the cosine: 0.5e-3 for the head, halved from layer to layer: head, blocks 2, 1, 0, patch embedding
    expected = {
        "head.weight": 0,
        "blocks.2.attn.qkv.weight": 1,
        "blocks.0.mlp.fc1.bias": 3,
        "patch_embed.proj.weight": 4,
    }
    for name, steps in expected.items():
        assert groups[name]["lr"] == pytest.approx(0.5e-3 * 0.5**steps)


def test_layer_decay_makes_early_layers_move_less(model):
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = create_optimizer(model, ADAMW, 1e-3, weight_decay=0.0, layer_decay=0.1)
    create_schedule(optimizer, COSINE, num_updates=100, warmup_fraction=0.0)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    moved = {name: (parameter - before[name]).abs().max().item() for name, parameter in model.named_parameters()}
    # AdamW's first step moves each weight by its rate
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.01)
    assert moved["blocks.2.attn.qkv.weight"] == pytest.approx(1e-4, rel=0.01)
    assert moved["blocks.0.attn.qkv.weight"] == pytest.approx(1e-6, rel=0.01)


def test_the_schedule_warms_up_and_comes_down_by_update(model):
    optimizer = create_optimizer(model, ADAMW, 1.0, weight_decay=0.0, layer_decay=None)
    schedule = create_schedule(optimizer, partial(CosineLRScheduler, warmup_lr_init=0.0), 100, warmup_fraction=0.2)
    rates = []
    for update in range(101):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:21] == pytest.approx([step / 20 for step in range(20)] + [0.9045], abs=1e-4)
    assert rates[50] == pytest.approx(0.5)  # the cosine spans all updates, warm-up included
    assert rates[100] == pytest.approx(0.0, abs=1e-6)
    assert max(rates) <= 1.0


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_the_head_has_a_rate_of_its_own_after_prepare_and_one_step(model, layer_decay):
    optimizer = create_optimizer(model, ADAMW, 1e-3, weight_decay=0.1, layer_decay=layer_decay, head_lr=8e-3)
    prepared, optimizer = Accelerator(cpu=True).prepare(model, optimizer)
    schedule = create_schedule(optimizer, COSINE, num_updates=100, warmup_fraction=0.0)
    prepared(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    schedule.step_update(50)  # half-way down the cosine
    groups = groups_by_name(model, optimizer)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    steps = {"norm.weight": 1, "blocks.2.attn.qkv.weight": 1, "blocks.0.mlp.fc1.bias": 3, "patch_embed.proj.weight": 4}
    for name, num_steps in steps.items():
        assert groups[name]["lr"] == pytest.approx(0.5e-3 * (layer_decay or 1) ** num_steps)
    for name, decay in (("head.weight", 0.1), ("head.bias", 0.0)):
        assert groups[name]["lr"] == pytest.approx(4e-3)
        assert groups[name]["weight_decay"] == decay


def test_the_head_rate_moves_the_head_by_as_much(model):
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = create_optimizer(model, ADAMW, 1e-3, weight_decay=0.0, layer_decay=0.1, head_lr=1e-2)
    create_schedule(optimizer, COSINE, num_updates=100, warmup_fraction=0.0)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    moved = {name: (parameter - before[name]).abs().max().item() for name, parameter in model.named_parameters()}
    assert moved["head.weight"] == pytest.approx(1e-2, rel=0.01)
    assert moved["blocks.2.attn.qkv.weight"] == pytest.approx(1e-4, rel=0.01)


def test_both_heads_of_a_distilled_model_and_a_head_alone_have_the_head_rate():
    deit = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, embed_dim=24, depth=1, num_heads=2, num_classes=4
    )
    groups = groups_by_name(deit, create_optimizer(deit, ADAMW, 1e-3, 0.1, layer_decay=0.5, head_lr=2e-3))
    rates = {name: group["lr_scale"] for name, group in groups.items()}
    assert {name for name, rate in rates.items() if rate == 2} == {
        name for name in rates if name.startswith(("head.", "head_dist."))
    }
    alone = HeadOnFeatures(deit)
    groups = groups_by_name(alone, create_optimizer(alone, ADAMW, 1e-3, 0.1, layer_decay=0.5, head_lr=2e-3))
    assert len(groups) == 4
    assert {group["lr_scale"] for group in groups.values()} == {2}


@pytest.mark.parametrize("head_lr", [None, 1e-2])
@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("finetune", [Head(num_views=0), LastBlocks(1), Lora(2, 8.0, 0.0, ["qkv", "fc1"])])
def test_frozen_parameters_are_in_no_group(model, finetune, layer_decay, head_lr):
    finetune.apply(model)
    groups = groups_by_name(model, create_optimizer(model, ADAMW, 1e-3, 0.1, layer_decay=layer_decay, head_lr=head_lr))
    assert set(groups) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_low_rank_updates_have_the_rate_of_their_layer(model):
    Lora(2, 8.0, 0.0, ["qkv"]).apply(model)
    groups = groups_by_name(model, create_optimizer(model, ADAMW, 1e-3, weight_decay=0.1, layer_decay=0.5))
    rates = {name: group["lr_scale"] for name, group in groups.items()}
    assert rates["head.weight"] == 1
    assert rates["blocks.2.attn.qkv.lora_A.default.weight"] == 0.5
    assert rates["blocks.0.attn.qkv.lora_B.default.weight"] == 0.125


def test_the_head_has_its_own_rate_whatever_timm_calls_it():
    model = timm.create_model("resnet10t", num_classes=4)
    groups = groups_by_name(model, create_optimizer(model, ADAMW, 1e-3, 0.1, layer_decay=None, head_lr=1e-2))
    assert {name for name, group in groups.items() if group.get("lr_scale") == 10} == {"fc.weight", "fc.bias"}
