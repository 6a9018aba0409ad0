"""Every family of ViTs in timm, at a tiny size, in every mode: docs/families.md says what works, and these compare it.

The modes are tried here with one model a family; scripts/list_families.py, which writes the page, tries all with all.
"""

import re

import pytest
import timm
import torch
from conftest import REPO, load_script
from timm.models import is_model_in_modules

from multihot.errors import InputError
from multihot.model.create import create_model
from multihot.model.features import check_head_alone
from multihot.model.finetune import LastBlocks, Lora, checkpoint_gradients, head_parameters
from multihot.model.heads import start_at_log_odds
from multihot.model.rounded import round_weights
from multihot.model.start import check_rows
from multihot.training.optimizer import create_optimizer

families = load_script("scripts/list_families")
tiny = load_script("scripts/tiny_vits")
PAGE = (REPO / "docs/families.md").read_text()
SLOW = (  # seconds each, and no other kind of head than those that are tried
    "efficientformer_v2", "efficientvit_msra", "fastvit", "gcvit", "hieradet_sam2", "maxxvit", "mobilevit", "nest",
    "nextvit", "shvit", "swin_transformer_v2", "swin_transformer_v2_cr", "tiny_vit", "vitamin",
)  # fmt: skip
QUICK = [next(iter(models)) for family, models in tiny.FAMILIES.items() if family not in SLOW]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(name, head="linear"):
    with tiny.shrunk(name):
        return tiny.build(name, head)


def learned(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


# The page


def test_every_module_of_timm_with_a_vit_is_tried():
    missing = [name for name in timm.list_models("*vit*") if not is_model_in_modules(name, tiny.FAMILIES)]
    assert missing == []
    assert all(is_model_in_modules(name, [family]) for name, family in tiny.MODELS.items())


def test_the_page_has_a_line_for_each_model_and_no_other():
    assert re.findall(r"^\| (\w+) \| `(\w+)` \|", PAGE, re.MULTILINE) == [
        (family, name) for name, family in tiny.MODELS.items()
    ]
    assert f"| module | model | {' | '.join(families.COLUMNS)} |" in PAGE
    assert PAGE.startswith(families.INTRODUCTION)


@pytest.mark.parametrize("name", QUICK)
def test_the_page_says_what_a_model_works_with(name):
    said = families.try_model(name, is_quick=True)
    assert families.write_row(name, said) in PAGE, "python scripts/list_families.py writes docs/families.md anew"
    assert all(reason in PAGE for reason in said.values())


@pytest.mark.parametrize(
    ("name", "head"), [(name, "linear") for name in QUICK[::4]] + [(QUICK[0], head) for head in tiny.HEADS]
)
def test_weights_that_are_kept_rounded_give_the_logits_of_autocast_to_the_bit(name, head):
    model = build(name, head).eval()
    image = families.images_of(model)[:2]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model(image)
        round_weights(model, "no")
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        round_weights(model, "bf16")
        assert torch.bfloat16 in {parameter.dtype for parameter in model.parameters()}
        assert torch.equal(model(image), expected)


# What was silently wrong


def test_the_biases_of_volo_are_those_by_which_it_adds_them_up_to_the_prior():
    model = build("volo_d1_224")
    log_odds = torch.tensor([-1.5, 0.0, 3.0])
    start_at_log_odds(model, log_odds)
    # its logits are head + aux_head / 2
    torch.testing.assert_close(model.head.bias.data, log_odds / 1.5)
    torch.testing.assert_close(model.aux_head.bias.data, log_odds / 1.5)


def test_classifiers_that_are_not_all_known_do_not_start_at_the_prior():
    with pytest.raises(InputError, match=r"do not follow from the biases of head.linear alone.*start=random"):
        start_at_log_odds(build("levit_384_s8"), torch.zeros(3))


def test_a_head_is_not_trained_alone_if_the_model_adds_to_its_logits():
    model = build("volo_d1_224")
    with pytest.raises(InputError, match=r"VOLO cannot be trained alone: its logits are off.*Take finetune=full"):
        check_head_alone(model, families.images_of(model))
    with pytest.raises(InputError, match="VOLO: its logits are no product"):
        check_rows(model)


def test_both_classifiers_of_volo_are_the_head():
    model = build("volo_d1_224")
    assert {id(parameter) for parameter in head_parameters(model)} == {
        id(parameter) for layer in (model.head, model.aux_head) for parameter in layer.parameters()
    }


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("samvit_base_patch16_224", {"neck.0.weight", "neck.3.bias"}),
        ("cait_xxs24_224", {"cls_token", "blocks_token_only.0.attn.q.weight", "norm.weight"}),
        ("xcit_nano_12_p16_224", {"cls_token", "cls_attn_blocks.0.mlp.fc1.weight", "norm.weight"}),
    ],
)
def test_all_that_is_behind_the_last_block_is_trained_with_it(name, behind):
    model = build(name)
    LastBlocks(1).apply(model)
    assert behind < learned(model)
    assert not any(name.startswith(("patch_embed.", "pos_embed", "blocks.0.")) for name in learned(model))


def test_what_the_frozen_blocks_use_too_is_not_trained():
    model = timm.create_model(
        "beit_base_patch16_224", img_size=32, **tiny.VIT, use_shared_rel_pos_bias=True, num_classes=3
    )
    LastBlocks(1).apply(model)
    assert "rel_pos_bias.relative_position_bias_table" not in learned(model)
    LastBlocks(2).apply(model)
    assert "blocks.0.attn.proj.weight" in learned(model)
    assert "patch_embed.proj.weight" not in learned(model)


def test_layers_that_get_no_update_are_told(caplog):
    Lora(rank=2, alpha=4.0, dropout=0.0, targets=["qkv", "proj", "fc1", "fc2"]).apply(build("aimv2_large_patch14_224"))
    assert "VisionTransformer has more in its blocks, which stay as they are: fc1_g, fc1_x" in caplog.text


def test_layer_decay_acts_where_timm_does_not_know_the_blocks():
    model = build("pit_ti_224")
    groups = create_optimizer(model, torch.optim.SGD, 1.0, weight_decay=0.0, layer_decay=0.5).param_groups
    rates = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert rates[model.head.weight] == 1.0
    assert rates[model.norm.weight] > rates[model.patch_embed.conv.weight]


def test_a_layer_decay_that_would_do_nothing_is_refused(monkeypatch):
    model = build("vit_tiny_patch16_224")
    monkeypatch.setattr(type(model), "group_matcher", lambda self, coarse: {"all": ""})
    with pytest.raises(InputError, match=r"layer_decay=0.5 would do nothing: timm takes Vision"):
        create_optimizer(model, torch.optim.SGD, 1.0, weight_decay=0.0, layer_decay=0.5)


@pytest.mark.parametrize("name", ["pit_ti_224", "convit_tiny"])
def test_gradient_checkpointing_that_timm_lacks_is_refused(name):
    with pytest.raises(InputError, match=r"grad_checkpointing=true: timm's \w+ cannot do it"):
        checkpoint_gradients(build(name))


def test_a_model_that_cannot_be_saved_is_refused_before_it_is_trained():
    with pytest.raises(InputError, match=r"cpe1.proj.weight too, and safetensors saves no weight twice"):
        create_model("coat_lite_tiny", num_labels=3, pretrained=False, weights=None, image_size=None, kwargs={})


def test_the_example_image_leaves_random_numbers_and_mode_alone():
    model = build("vit_tiny_patch16_224").train()
    before = torch.get_rng_state()
    start_at_log_odds(model, torch.zeros(3))
    LastBlocks(1).apply(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
