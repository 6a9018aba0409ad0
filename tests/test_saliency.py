from functools import partial

import numpy as np
import pytest
import timm
import torch
from conftest import load_script
from PIL import Image
from safetensors.torch import load_file

from multihot.data.readers.digits import LABELS, create_digits
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.model.heads import CSRA, MLDecoder, Query2Label, install_head
from multihot.model.sources import find_weights
from multihot.report.saliency import METHODS, create_explainer, find_saliency, overlay, recording, run_traced

DECODER = {"decoder_width": None, "num_heads": 4, "feedforward_width": 32, "dropout": 0.1}
HEADS = {
    "linear": None,
    "csra": partial(CSRA, num_heads=4, attention_weight=0.2),
    "ml_decoder": partial(MLDecoder, num_groups=2, **DECODER),
    "query2label": partial(Query2Label, num_layers=1, **DECODER),
}
FAMILIES = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_gap_224",
    "vit_relpos_small_patch16_224",
)
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def create(name="vit_tiny_patch16_224", head="linear", *, depth=2, **kwargs):
    """Returns a small model of 5 labels and two of its images, of 3 x 3 patches."""
    size = 42 if "patch14" in name else 48
    model = timm.create_model(name, img_size=size, num_classes=0, embed_dim=24, depth=depth, num_heads=2, **kwargs)
    install_head(model, HEADS[head], 5)
    torch.nn.init.normal_(model.get_classifier().weight) if head == "linear" and name != FAMILIES[1] else None
    return model, torch.randn(2, 3, size, size)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_and_head_has_a_saliency_of_its_patches_by_every_method(name):
    for head in HEADS:
        model, image = create(name, head)
        for method in METHODS:
            result = find_saliency(model, image, [0, 4], method=method)
            assert result.shape == (2, 3, 3)
            assert result.amin(dim=(1, 2)).tolist() == [0, 0]
            assert result.amax(dim=(1, 2)).tolist() == [1, 1]


def test_each_picture_is_explained_for_itself_and_its_label():
    model, image = create()
    both = find_saliency(model, image, [1, 3])
    assert torch.allclose(both[0], find_saliency(model, image[:1], [1])[0], atol=1e-5)
    assert torch.allclose(both[1], find_saliency(model, image[1:], [3])[0], atol=1e-5)
    assert not torch.allclose(both[0], find_saliency(model, image[:1], [2])[0], atol=1e-2)


@pytest.mark.parametrize("fused", [True, False])
def test_the_model_is_left_as_it_was(fused):
    model, image = create(drop_rate=0.5)
    model.train()
    model.blocks[0].eval()
    for block in model.blocks:
        block.attn.fused_attn = fused
    model.requires_grad_(False)
    expected = model.eval()(image)
    model.train()
    model.blocks[0].eval()
    find_saliency(model, image, [0, 0])
    with pytest.raises(IndexError):
        find_saliency(model, image, [0, 5])
    assert [block.attn.fused_attn for block in model.blocks] == [fused, fused]
    assert (model.training, model.blocks[0].training, model.blocks[1].training) == (True, False, True)
    assert not any(part._forward_hooks for part in model.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.eval()(image), expected)


def test_the_traced_logits_are_those_of_the_model():
    model, image = create()
    trace, logits = run_traced(model, image)
    assert torch.allclose(logits, model.eval()(image), atol=1e-5)
    assert [one.shape for one in trace.attention] == [(2, 2, 10, 10)] * 2
    assert torch.allclose(trace.attention[0].sum(dim=-1), torch.ones(2, 2, 10))


def scaled(relevance):
    return (relevance - relevance.min()) / (relevance.max() - relevance.min())


def test_gradient_attention_is_what_the_logit_loses_with_less_attention_to_a_patch():
    model, image = create()
    model.head = torch.nn.Linear(24, 5)
    model.double().eval()
    image, less = image[:1].double(), 1e-6
    expected, plain = np.zeros(9), model(image)[0, 2].item()
    for block, head, patch in np.ndindex(2, 2, 9):

        def weaken(_part, _inputs, output, head=head, patch=patch):
            factor = torch.ones(1, 2, 1, 10)
            factor[0, head, 0, 1 + patch] -= less
            return output * factor

        with recording(model), model.blocks[block].attn.attn_drop.register_forward_hook(weaken):
            expected[patch] += max(0, plain - model(image)[0, 2].item()) / less
    result = find_saliency(model, image, [2], method="gradient_attention")
    assert result.flatten().numpy() == pytest.approx(scaled(expected), abs=1e-4)


def test_rollout_is_the_product_of_attention_and_identity():
    model, image = create(depth=3)
    relevance = np.eye(10)
    with recording(model) as (_, attention):
        model(image[:1])
    for one in attention:
        relevance = (one[0].detach().numpy().mean(axis=0) + np.eye(10)) / 2 @ relevance
    result = find_saliency(model, image[:1], [2], method="rollout")
    assert result.flatten().numpy() == pytest.approx(scaled(relevance[0, 1:]), abs=1e-4)  # from the class token


@every_method
def test_pictures_that_are_not_square_have_rows_and_columns(method):
    model, _ = create(dynamic_img_size=True)
    assert find_saliency(model, torch.randn(1, 3, 32, 64), [0], method=method).shape == (1, 2, 4)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=(32, 64), embed_dim=24, depth=1, num_heads=2, num_classes=5
    )
    assert find_saliency(model, torch.randn(1, 3, 32, 64), [0], method=method).shape == (1, 2, 4)


def test_windows_have_no_attention_of_all_patches_and_fall_back_to_gradient_input():
    shape = {"img_size": 64, "window_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)}
    model = timm.create_model("swin_tiny_patch4_window7_224", **shape, num_classes=5)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(find_saliency(model, image, [0]), find_saliency(model, image, [0], method="gradient_input"))
    assert find_saliency(model, image, [0]).shape == (1, 16, 16)
    with pytest.raises(InputError, match="take gradient_input"):
        find_saliency(model, image, [0], method="rollout")


def test_a_model_without_patches_and_an_unknown_method_are_refused():
    model = timm.create_model("resnet10t", num_classes=5)
    with pytest.raises(InputError, match="ResNet has no patches"):
        find_saliency(model, torch.randn(1, 3, 32, 32), [0])
    model, image = create()
    with pytest.raises(InputError, match="gradient_attention, rollout"):
        find_saliency(model, image, [0, 0], method="gradients")


def test_a_label_of_a_group_is_explained_against_the_others():
    model, image = create()
    labels = tuple("abcde")
    space = LabelSpace(labels, (Group("letters", labels[:2]),))
    alone, against = (find_saliency(model, image, [0, 0], space=one, method="gradient_input") for one in (None, space))
    assert not torch.allclose(alone, against, atol=1e-2)
    alone, against = (find_saliency(model, image, [4, 4], space=one, method="gradient_input") for one in (None, space))
    assert torch.allclose(alone, against)


def test_the_shipped_model_is_seen_to_look_at_the_digit_that_it_names():
    shape = {"img_size": 36, "patch_size": 12, "embed_dim": 96, "depth": 6, "num_heads": 3, "num_classes": 10}
    model = timm.create_model("vit_tiny_patch16_224", **shape, pretrained_cfg_overlay={"crop_pct": 1.0})
    model.load_state_dict(load_file(find_weights("shipped:vit_digits")))
    scenes = create_digits(
        "test", num_images={"test": 60}, max_digits=1, num_clutter=4, single_label=True, hidden_fraction=0.0, seed=0
    )
    explain = create_explainer(model, LabelSpace.single_label(LABELS))
    hits = []
    for image, digit in zip(scenes.images, scenes.targets.indices, strict=True):
        picture, saliency = explain(scenes.read(image), digit)
        assert np.array_equal(np.asarray(picture), np.asarray(scenes.read(image)))
        (place,) = scenes.read.find_places(image)
        row, column = 12 * np.array(divmod(saliency.argmax(), 3)) + 6  # the middle of the patch
        hits.append(place.top <= row < place.bottom and place.left <= column < place.right)
    assert np.mean(hits) > 0.9  # by chance 0.11


def test_an_overlay_colours_what_is_salient_and_leaves_the_rest_grey():
    picture = Image.new("RGB", (40, 20), (10, 200, 30))
    result = np.asarray(overlay(picture, np.array([[0.0, 1.0]])))
    assert result.shape == (20, 40, 3)
    assert len(set(result[0, 0].tolist())) == 1
    assert result[0, -1, 0] > 150 > 60 > result[0, -1, 2]


def test_the_picture_is_the_part_that_the_model_sees():
    model, _ = create(pretrained_cfg_overlay={"crop_pct": 0.5, "input_size": (3, 48, 48)})
    picture = Image.new("RGB", (200, 100), (255, 0, 0))
    picture.paste((0, 0, 255), (75, 25, 125, 75))  # the middle half of the height
    seen, saliency = create_explainer(model, LabelSpace(tuple("abcde")))(picture, 0)
    assert seen.size == (48, 48)
    assert seen.getpixel((4, 4)) == seen.getpixel((44, 44)) == (0, 0, 255)
    assert saliency.shape == (3, 3)


def test_the_pointing_game_counts_the_patches_on_digits_of_the_label():
    game = load_script("scripts/pointing_game")
    scenes = create_digits(
        "test", num_images={"test": 20}, max_digits=4, num_clutter=0, single_label=False, hidden_fraction=0.0, seed=0
    )
    seen = []

    def point_at_the_middle(picture, digit):
        seen.append(digit)
        return picture, np.array([[0, 0, 0], [0, 1.0, 0], [0, 0, 0]])

    for row, image in enumerate(scenes.images):
        places = scenes.read.find_places(image)
        scores = game.play(point_at_the_middle, scenes, image)
        assert len(scores) == len({place.digit for place in places}) == scenes.targets[[row]].nnz
        in_the_middle = [place for place in places if place.top <= 18 < place.bottom and place.left <= 18 < place.right]
        assert sum(hit for hit, *_ in scores) == len(in_the_middle)
        assert sum(others for *_, others in scores) == pytest.approx(1)
        assert all(0 < area < 1 and 0 <= share <= 1 for _, share, area, _ in scores)
