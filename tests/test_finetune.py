import copy
from functools import partial

import pytest
import timm
import torch

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.model.finetune import (
    Full,
    Head,
    LastBlocks,
    Lora,
    LpFt,
    check_combination,
    check_lora_is_used,
    count_parameters,
    merge_lora,
)
from multihot.model.heads import CSRA, MLDecoder, TwoLogit, factor_head, install_head
from multihot.model.saved import load_model, save_model
from multihot.model.start import Fit, Prior

DEPTH, WIDTH, SIZE = 3, 24, 32
LABELS = ("cat", "dog", "owl")
NAMES = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")
DECODER = {"num_groups": 2, "decoder_width": None, "num_heads": 2, "feedforward_width": 8, "dropout": 0.1}
HEADS = {
    "linear": None,
    "two_logit": partial(TwoLogit),
    "csra": partial(CSRA, num_heads=1, attention_weight=0.2),
    "ml_decoder": partial(MLDecoder, **DECODER),
}
ALL_LAYERS = ["qkv", "proj", "fc1", "fc2"]
LORA = Lora(rank=2, alpha=8.0, dropout=0.0, targets=ALL_LAYERS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def image():
    return torch.randn(4, 3, SIZE, SIZE)


def create(name=NAMES[0], head=None, **kwargs):
    settings = {"img_size": SIZE, "patch_size": 16, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": 2, **kwargs}
    model = timm.create_model(name, num_classes=0, **settings)
    install_head(model, head, len(LABELS))
    return model


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def with_prefix(model, *prefixes):
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def train_a_little(model, image):
    """Makes three large steps with what is to be trained."""
    model.train()
    optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        model(image).square().sum().backward()
        optimizer.step()
    return model.eval()


# Which parameters learn


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("finetune", [Full(), LpFt()])
def test_full_finetuning_trains_everything(name, finetune):
    model = create(name)
    finetune.apply(model)
    assert trained(model) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_head_trains_all_of_the_head_and_nothing_else(name, head):
    model = create(name, HEADS[head])
    Head(num_views=0).apply(model)
    assert trained(model) == with_prefix(model, "head.", "head_dist.")
    assert any(name.startswith("head_dist.") for name in trained(model)) == (
        name == NAMES[1] and head in ("linear", "two_logit")
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_blocks", [1, 2, DEPTH])
def test_last_blocks_train_with_the_norm_and_the_head(name, num_blocks):
    model = create(name)
    LastBlocks(num_blocks).apply(model)
    blocks = [f"blocks.{number}." for number in range(DEPTH - num_blocks, DEPTH)]
    assert trained(model) == with_prefix(model, *blocks, "norm.", "head.", "head_dist.")


def test_last_blocks_train_the_norm_and_the_pooling_behind_them():
    average = create(global_pool="avg")
    LastBlocks(1).apply(average)
    assert {"fc_norm.weight", "blocks.2.mlp.fc1.weight"} < trained(average)
    attention = create("vit_base_patch16_siglip_224")
    LastBlocks(1).apply(attention)
    assert with_prefix(attention, "attn_pool.") < trained(attention)


@pytest.mark.parametrize("num_blocks", [0, -1, DEPTH + 1])
def test_as_many_blocks_as_there_are_not_are_refused(num_blocks):
    with pytest.raises(InputError, match=f"num_blocks={num_blocks}: VisionTransformer has 3 blocks"):
        LastBlocks(num_blocks).apply(create())


def test_last_blocks_of_a_model_without_any_are_refused():
    with pytest.raises(InputError, match="ResNet has no transformer blocks"):
        LastBlocks(1).apply(timm.create_model("resnet10t", num_classes=3))


@pytest.mark.parametrize("finetune", [Head(0), LastBlocks(1), LORA])
def test_what_is_frozen_stays_as_it_was(finetune, image):
    model = create()
    before = {name: value.clone() for name, value in model.named_parameters()}
    finetune.apply(model)
    train_a_little(model, image)
    after = dict(model.named_parameters())
    for name, value in before.items():
        name = name if name in after else name.replace(".weight", ".base_layer.weight").replace(
            ".bias", ".base_layer.bias")  # fmt: skip
        assert torch.equal(after[name], value) != after[name].requires_grad, name


def test_gradient_checkpointing_changes_no_gradient_of_what_is_trained(image):
    gradients = []
    for is_on in (False, True):
        torch.manual_seed(0)
        model = create()
        model.set_grad_checkpointing(is_on)
        LORA.apply(model)
        model.train()(image).sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


# Low-rank updates


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_lora_trains_its_updates_of_each_block_and_the_head(name, head, image):
    model = create(name, HEADS[head])
    expected = model.eval()(image)
    LORA.apply(model)
    assert torch.equal(model(image), expected)  # the updates start at 0
    updates = {parameter for parameter in trained(model) if ".lora_" in parameter}
    assert {parameter.partition(".lora_")[0] for parameter in updates} == {
        f"blocks.{block}.{layer}" for block in range(DEPTH) for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert trained(model) - updates == with_prefix(model, "head.", "head_dist.")
    assert not any(".lora_" in parameter for parameter in with_prefix(model, "head.", "head_dist."))
    # rank x (inputs + outputs) of each layer: 2 x (24 + 72 + 24 + 24 + 24 + 96 + 96 + 24)
    numbers = {parameter: value.numel() for parameter, value in model.named_parameters()}
    assert sum(numbers[parameter] for parameter in updates) == DEPTH * 768
    model.train()(image).square().sum().backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


def test_lora_updates_only_the_layers_asked_for():
    model = create()
    Lora(rank=2, alpha=8.0, dropout=0.0, targets=["fc1"]).apply(model)
    assert {name.partition(".lora_")[0] for name in trained(model) if ".lora_" in name} == {
        f"blocks.{block}.mlp.fc1" for block in range(DEPTH)
    }
    with pytest.raises(InputError, match=r"targets=\['query'\]: VisionTransformer has no such linear layers"):
        Lora(rank=2, alpha=8.0, dropout=0.0, targets=["query"]).apply(create())


def test_layers_that_a_model_lacks_are_named(caplog):
    Lora(rank=2, alpha=8.0, dropout=0.0, targets=["fc1", "fc3"]).apply(create())
    assert "VisionTransformer has no fc3; its blocks have ['fc1', 'fc2', 'proj', 'qkv']" in caplog.text


def test_lora_stays_in_the_blocks_where_other_layers_have_the_same_names():
    model = create("vit_base_patch16_siglip_224")
    assert {"attn_pool.proj.weight", "attn_pool.mlp.fc1.weight"} < {name for name, _ in model.named_parameters()}
    LORA.apply(model)
    assert all(name.startswith(("blocks.", "head.")) for name in trained(model))


def test_the_update_is_scaled_by_alpha_through_rank(image):
    model = create()
    LORA.apply(model)
    train_a_little(model, image)
    layer = model.blocks[0].mlp.fc1
    update = 8.0 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert update.abs().max() > 1e-4
    torch.testing.assert_close(merge_lora(model).blocks[0].mlp.fc1.weight, layer.base_layer.weight + update)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_the_merged_model_gives_the_same_logits_and_has_plain_layers(name, head, image):
    model = create(name, HEADS[head])
    plain = {name: type(layer) for name, layer in model.named_modules()}
    keys = list(model.state_dict())
    LORA.apply(model)
    train_a_little(model, image)
    unmerged, state = model(image), copy.deepcopy(model.state_dict())
    merged = merge_lora(model)
    torch.testing.assert_close(merged(image), unmerged, atol=1e-5, rtol=1e-4)
    assert {name: type(layer) for name, layer in merged.named_modules()} == plain
    assert list(merged.state_dict()) == keys
    # the one that goes on training is as it was
    assert torch.equal(model(image), unmerged)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert any(".lora_" in name for name in trained(model))


def test_a_model_without_updates_is_not_copied():
    model = create()
    assert merge_lora(model) is model


def test_plain_timm_loads_a_model_that_was_saved_merged(image, tmp_path):
    model = create()
    LORA.apply(model)
    train_a_little(model, image)
    save_model(merge_lora(model), tmp_path / "best", space=LabelSpace(LABELS), head=None)
    loaded = timm.create_model(f"local-dir:{tmp_path}/best", pretrained=True).eval()
    torch.testing.assert_close(loaded(image), model(image), atol=1e-5, rtol=1e-4)
    assert torch.equal(load_model(tmp_path / "best", LABELS).eval()(image), loaded(image))


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224"])
def test_lora_on_layers_that_are_never_called_is_refused_with_the_reason(name):
    model = create(name, patch_size=16)
    with pytest.raises(
        InputError, match=r"reads the weights of qkv without calling the layer.*\n  blocks\.0\.attn\.qkv"
    ):
        LORA.apply(model)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "vit_small_patch16_dinov3"])
def test_lora_on_the_other_layers_of_such_models_learns(name, image):
    model = create(name, patch_size=16)
    Lora(rank=2, alpha=8.0, dropout=0.0, targets=["proj", "fc1", "fc2"]).apply(model)
    train_a_little(model, image)
    moved = {name: value for name, value in model.named_parameters() if ".lora_B" in name}
    assert moved
    assert all(value.any() for value in moved.values())  # they start at 0
    torch.testing.assert_close(merge_lora(model)(image), model(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("vit_tiny_r_s16_p8_224", {"img_size": SIZE, "depth": 1}),  # patches of features, not of pixels
        ("vit_tiny_patch16_224", {"img_size": SIZE, "in_chans": 1, "depth": 1}),
        ("vit_tiny_patch16_224", {"img_size": (32, 48), "depth": 1}),
        ("vit_tiny_patch16_224", {"dynamic_img_size": True, "depth": 1}),
        ("vit_tiny_patch16_224", {"img_size": SIZE, "depth": 1, "patch_drop_rate": 0.5}),
        ("mixer_s32_224", {"img_size": 64}),  # has no patch_embed
    ],
)
def test_the_check_of_lora_knows_what_a_model_takes(name, kwargs):
    model = timm.create_model(name, num_classes=3, **kwargs)
    Lora(rank=2, alpha=8.0, dropout=0.0, targets=["fc1"]).apply(model)
    assert any(".lora_" in parameter for parameter in trained(model))


def test_the_check_of_lora_runs_where_the_model_is():
    model = create().to("meta")  # for a GPU
    LORA.apply(model)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_the_check_of_lora_leaves_mode_gradients_and_random_numbers_alone():
    for is_training in (True, False):
        model = create(drop_rate=0.1, drop_path_rate=0.1).train(is_training)
        Lora(rank=2, alpha=8.0, dropout=0.5, targets=["fc1"]).apply(model)
        before = torch.get_rng_state()
        check_lora_is_used(model)
        assert torch.equal(torch.get_rng_state(), before)
        assert model.training == is_training
        assert all(parameter.grad is None for parameter in model.parameters())


def test_lora_goes_with_a_head_in_factors(image):
    model = create()
    LORA.apply(model)
    factor_head(model)
    assert {"head.weight", "head.bias"} < trained(model)
    merged = merge_lora(model.eval())
    torch.testing.assert_close(merged(image), model(image))


def test_the_number_of_trained_parameters_is_told():
    model = create()
    total = sum(parameter.numel() for parameter in model.parameters())
    Head(num_views=0).apply(model)
    assert count_parameters(model) == f"trained parameters: 75 of {total:,} ({75 / total:.1%})"  # 3 x (24 + 1)


# Combinations


def combine(finetune, start=None, is_mixed=False, grad_checkpointing=False, train_image_size=None, **kwargs):
    model = {"train_image_size": train_image_size, "kwargs": kwargs}
    check_combination(finetune, start, is_mixed, grad_checkpointing, model)


@pytest.mark.parametrize("finetune", [Full(), LastBlocks(1), LORA])
def test_modes_that_train_on_pictures_take_all_settings(finetune):
    combine(finetune, is_mixed=True, grad_checkpointing=True, drop_path_rate=0.1)


def test_lp_ft_needs_the_fit_that_it_is_named_after():
    combine(LpFt(), start=Fit())
    with pytest.raises(InputError, match=r"another start than fit undoes: take finetune=full"):
        combine(LpFt(), start=Prior())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"is_mixed": True}, "mix.mixup and mix.cutmix"),
        ({"grad_checkpointing": True}, "grad_checkpointing"),
        ({"train_image_size": 32}, "model.train_image_size"),
        ({"drop_path_rate": 0.1}, "model.kwargs.drop_path_rate"),
        ({"attn_drop_rate": 0.1, "is_mixed": True}, "mix.mixup and mix.cutmix, model.kwargs.attn_drop_rate"),
    ],
)
def test_settings_that_cannot_act_on_stored_features_are_refused(settings, words):
    with pytest.raises(InputError, match=f"so {words} cannot act"):
        combine(Head(num_views=0), **settings)


def test_settings_that_do_act_on_stored_features_pass():
    combine(Head(num_views=4), start="by_name", drop_rate=0.1, drop_path_rate=0.0, embed_dim=24)


@pytest.mark.parametrize("head", HEADS)
def test_the_merged_copy_computes_in_bfloat16_what_the_saved_model_does(head, image, tmp_path):
    model = create(head=HEADS[head])
    LORA.apply(model)
    train_a_little(model, image)
    whole = merge_lora(model)
    saved = create(head=HEADS[head]).eval()
    saved.load_state_dict(whole.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(whole(image), saved(image))
        assert not torch.equal(model(image), saved(image))  # which is why validation measures the copy


def test_a_model_that_is_spread_over_processes_is_not_merged(monkeypatch):
    model = create()
    LORA.apply(model)
    monkeypatch.setattr("multihot.model.finetune.FSDPModule", type(model))
    assert merge_lora(model) is model
