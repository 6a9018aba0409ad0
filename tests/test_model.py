import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_input_data_config

from multihot.errors import InputError
from multihot.model.create import create_model

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
NAME = "vit_tiny_patch16_224"


def create(num_labels=5, *, name=NAME, pretrained=False, weights=None, image_size=32, kwargs=TINY):
    return create_model(
        name, num_labels=num_labels, pretrained=pretrained, weights=weights, image_size=image_size, kwargs=kwargs
    )


@pytest.fixture
def single_label():
    torch.manual_seed(0)
    return timm.create_model(NAME, img_size=32, num_classes=7, **TINY)


@pytest.fixture
def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_softmax_classifier_is_swapped_for_one_logit_a_label(single_label, image, tmp_path):
    save_file(single_label.state_dict(), tmp_path / "single.safetensors")
    model = create(weights=str(tmp_path / "single.safetensors"))
    assert type(model) is type(single_label)  # the timm model itself, not a wrapper
    assert model(image).shape == (2, 5)
    assert model.num_classes == 5
    torch.testing.assert_close(model.forward_features(image), single_label.forward_features(image), rtol=0, atol=0)


def test_a_pth_file_and_a_training_checkpoint_load_too(single_label, image, tmp_path):
    torch.save(single_label.state_dict(), tmp_path / "plain.pth")
    torch.save({"state_dict": single_label.state_dict(), "epoch": 3}, tmp_path / "training.pth")
    expected = single_label.forward_features(image)
    for file in ("plain.pth", "training.pth"):
        features = create(weights=str(tmp_path / file)).forward_features(image)
        torch.testing.assert_close(features, expected, rtol=0, atol=0)


def test_a_timm_folder_brings_its_own_arguments_and_preprocessing(single_label, image, tmp_path):
    own = {"mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    timm.models.save_for_hf(single_label, str(tmp_path), safe_serialization=True, data_config=own)
    model = create(weights=str(tmp_path), image_size=None, kwargs={})
    torch.testing.assert_close(model.forward_features(image), single_label.forward_features(image), rtol=0, atol=0)
    preprocessing = resolve_input_data_config(model)
    assert preprocessing["input_size"] == (3, 32, 32)
    assert tuple(preprocessing["mean"]) == own["mean"]
    assert preprocessing["interpolation"] == "bilinear"


def test_another_input_size_resamples_the_position_embedding(single_label, tmp_path):
    save_file(single_label.state_dict(), tmp_path / "single.safetensors")
    model = create(weights=str(tmp_path / "single.safetensors"), image_size=48)
    assert model.pos_embed.shape == (1, 37, 24)  # 6 x 6 patches and the class token
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 5)
    assert resolve_input_data_config(model)["input_size"] == (3, 48, 48)
    assert "state_dict" not in model.pretrained_cfg


@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "vit_small_patch14_dinov2", "eva02_tiny_patch14_224"]
)
def test_other_vit_families_become_multi_label_too(name):
    model = create(name=name, image_size=112, kwargs={"depth": 1, "embed_dim": 24, "num_heads": 2}).eval()
    size = resolve_input_data_config(model)["input_size"]
    assert model(torch.randn(2, *size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("image_size", "kwargs", "way_out"),
    [
        (50, {"patch_size": 12}, "the last 2 pixels: choose 48 or 60"),
        (None, {"patch_size": 12}, "model.image_size=224 .* the last 8 pixels: choose 216 or 228"),
        (10, {"patch_size": 12}, "choose 12$"),
        (100, {}, "choose 96 or 112"),
    ],
)
def test_patches_that_leave_out_the_edges_are_refused_with_the_nearest_sizes(image_size, kwargs, way_out):
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    with pytest.raises(InputError, match=way_out):
        create(image_size=image_size, kwargs={**small, **kwargs})


@pytest.mark.parametrize(
    ("name", "image_size", "kwargs"),
    [
        ("vit_so400m_patch14_siglip_gap_384", None, {}),  # pretrained with 27 patches of 14 pixels, 378 of 384
        ("vit_so400m_patch14_siglip_gap_384", 384, {}),
        (NAME, 50, {"dynamic_img_pad": True, "dynamic_img_size": True}),
    ],
)
def test_a_model_that_is_made_for_it_may_have_other_sizes(name, image_size, kwargs):
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    size = image_size or 384
    model = create(name=name, image_size=image_size, kwargs={**small, **kwargs})
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 5)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"patch_size": 0}, "cannot be built with .*\nCorrect or leave out model.kwargs.patch_size=0$"),
        ({"num_heads": 5}, "divisible by num_heads.\nCorrect or leave out model.kwargs.num_heads=5"),
        ({"depth": "x"}, "leave out model.kwargs.depth=x"),
        ({"embed_dim": -3}, "leave out model.kwargs.embed_dim=-3"),
        ({"act_layer": "foo"}, "KeyError 'foo'.\nCorrect or leave out model.kwargs.act_layer=foo"),
        ({"pos_embed": "foo"}, "AssertionError.\nCorrect or leave out model.kwargs.pos_embed=foo"),
        ({"nonsense": 3}, "unexpected keyword argument 'nonsense'.*\n.*model.kwargs.nonsense=3"),
        ({"pretrained_cfg_overlay": {"foo": 3}}, "leave out model.kwargs.pretrained_cfg_overlay"),
        ({"drop_rate": "a"}, "leave out model.kwargs.drop_rate=a"),
        ({"qkv_bias": "no"}, "model.kwargs.qkv_bias=no: it is true or false"),
        ({"in_chans": 1}, "in_chans=1: images are read as RGB, with 3 channels"),
        ({"img_size": 40}, "model.kwargs.img_size=40: set model.image_size"),
        ({"num_classes": 7}, "num_classes=7: it follows from the labels"),
        ({"checkpoint_path": "a.pth"}, "set model.weights"),
        ({"global_pool": ""}, "global_pool is empty"),
    ],
)
def test_arguments_that_timm_cannot_build_a_model_with_are_named(setting, words):
    with pytest.raises(InputError, match=words):
        create(kwargs={**TINY, **setting})


@pytest.mark.parametrize("size", [0, -8, 32.5, "big", True, [32, 48]])
def test_an_image_size_is_one_whole_number(size):
    with pytest.raises(InputError, match="it must be a whole number of pixels"):
        create(image_size=size)


def test_a_model_of_any_size_takes_no_image_size():
    with pytest.raises(InputError, match=r"leave out model\.image_size=32"):
        create(name="resnet10t", kwargs={})
    assert create(name="resnet10t", image_size=None, kwargs={}).num_classes == 5


def test_weights_that_do_not_fit_are_named_key_by_key(single_label, tmp_path):
    state = single_label.state_dict()
    state["blocks.0.extra.weight"] = torch.zeros(3)
    del state["blocks.1.attn.qkv.weight"]
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(InputError) as caught:
        create(weights=str(tmp_path / "wrong.safetensors"))
    assert "wrong.safetensors does not fit" in str(caught.value)
    assert "1 missing keys:\n  blocks.1.attn.qkv.weight" in str(caught.value)
    assert "1 unexpected keys:\n  blocks.0.extra.weight" in str(caught.value)


def test_weights_of_another_width_name_the_sizes(single_label, tmp_path):
    save_file(single_label.state_dict(), tmp_path / "narrow.safetensors")
    with pytest.raises(InputError, match="size mismatch for cls_token") as caught:
        create(weights=str(tmp_path / "narrow.safetensors"), kwargs={**TINY, "embed_dim": 48})
    assert len(str(caught.value).splitlines()) < 10


def test_a_folder_of_another_architecture_is_refused(single_label, tmp_path):
    timm.models.save_for_hf(single_label, str(tmp_path), safe_serialization=True)
    with pytest.raises(InputError, match=f"set model.name={NAME}"):
        create(name="vit_small_patch16_224", weights=str(tmp_path))


def test_a_mistyped_name_or_tag_lists_similar_ones():
    with pytest.raises(InputError, match="vit_tiny_patch16_224"):
        create(name="vit_tiny_patch16_242")
    with pytest.raises(InputError, match="augreg_in21k_ft_in1k"):
        create(name="vit_tiny_patch16_224.augreg")


def test_no_network_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="could not be fetched from the Hugging Face hub") as caught:
        create(pretrained=True, image_size=None, kwargs={})
    assert "model.weights=path" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5


def test_no_labels_are_refused():
    with pytest.raises(InputError, match="at least one label"):
        create(num_labels=0)
