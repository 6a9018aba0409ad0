import copy
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import load_file
from timm.optim import param_groups_layer_decay
from torch import nn

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, FactoredLogits, MultiLabelLoss, closed_form
from multihot.model.heads import (
    CSRA,
    FactoredLinear,
    MLDecoder,
    Query2Label,
    TwoLogit,
    can_factor_head,
    carry_rows,
    factor_head,
    install_head,
    start_at_log_odds,
)

CONF = Path(__file__).resolve().parents[1] / "conf"
DECODER = {"decoder_width": None, "num_heads": 4, "feedforward_width": 32, "dropout": 0.1}
TOKEN_HEADS = {
    "csra": partial(CSRA, num_heads=4, attention_weight=0.2),
    "ml_decoder": partial(MLDecoder, num_groups=2, **DECODER),
    "query2label": partial(Query2Label, num_layers=2, **DECODER),
}
HEADS = {"linear": None, "two_logit": partial(TwoLogit), **TOKEN_HEADS}
FAMILIES = {  # model -> prefix tokens
    "vit_tiny_patch16_224": 1,
    "deit_tiny_distilled_patch16_224": 2,
    "vit_small_patch14_reg4_dinov2": 5,
    "vit_small_patch16_dinov3": 5,
    "eva02_tiny_patch14_224": 1,
    "beit_base_patch16_224": 1,
    "beitv2_base_patch16_224": 1,
    "vit_base_patch16_siglip_224": 0,
    "vit_base_patch16_gap_224": 0,
    "vit_medium_patch16_reg4_gap_256": 4,
    "vit_relpos_small_patch16_224": 0,
}
PREFIX = 2  # of the heads tested without a model
every_family = pytest.mark.parametrize("name", FAMILIES)
every_head = pytest.mark.parametrize("head", HEADS)
every_token_head = pytest.mark.parametrize("head", TOKEN_HEADS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def create(name, head, *, num_labels=5, depth=1, **kwargs):
    size = 42 if "patch14" in name else 48  # 9 patches
    model = timm.create_model(name, img_size=size, num_classes=0, embed_dim=24, depth=depth, num_heads=2, **kwargs)
    install_head(model, HEADS[head], num_labels)
    return model, torch.randn(2, 3, size, size)


def unused_parameters(model, image):
    model.zero_grad()
    model(image).square().sum().backward()
    return [name for name, parameter in model.named_parameters() if parameter.grad is None]


@every_head
@every_family
def test_every_head_gives_a_logit_a_label_and_uses_all_parameters_on_every_family(name, head):
    model, image = create(name, head)
    assert model(image).shape == (2, 5)
    assert model(image).isfinite().all()
    assert model.num_classes == 5
    assert unused_parameters(model, image) == []
    if head in TOKEN_HEADS:
        assert model.head.num_prefix_tokens == FAMILIES[name]


@every_head
@every_family
def test_a_prior_start_gives_every_image_exactly_the_log_odds(name, head):
    model, image = create(name, head)
    log_odds = torch.tensor([0.0, -1.25, -4.6, 4.6, -2.2])
    start_at_log_odds(model, log_odds)
    assert torch.equal(model(image), log_odds.expand(2, -1))
    assert unused_parameters(model, image) == []


@every_head
@every_family
def test_copies_and_pickles_of_a_model_give_the_same_logits(name, head):
    model, image = create(name, head)
    expected = model.eval()(image)
    duplicate = copy.deepcopy(model)
    assert torch.equal(duplicate(image), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(image), expected)
    start_at_log_odds(duplicate, torch.zeros(5))
    assert torch.equal(duplicate(image), torch.zeros(2, 5))
    assert torch.equal(model(image), expected)  # nothing is shared


@every_head
@every_family
def test_a_model_saved_as_a_timm_folder_is_built_and_loaded_again(name, head, tmp_path):
    model, image = create(name, head)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", num_classes=0)
    install_head(loaded, HEADS[head], 5)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(loaded.eval()(image), model.eval()(image))


@every_family
def test_plain_timm_loads_a_model_with_the_linear_head(name, tmp_path):
    model, image = create(name, "linear")
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(loaded.eval()(image), model.eval()(image))


@every_head
@every_family
def test_layer_decay_gives_every_head_the_full_rate(name, head):
    model, _ = create(name, head, depth=2)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scales = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    scales = {name: scales[id(parameter)] for name, parameter in model.named_parameters()}
    assert {scale for name, scale in scales.items() if name.startswith("head")} == {1.0}
    assert {scale for name, scale in scales.items() if name.startswith("blocks.0.")} == {0.25}


@every_head
def test_every_head_runs_with_one_label_fewer_tokens_and_bf16(head):
    model, image = create("vit_tiny_patch16_224", head, num_labels=1, patch_drop_rate=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image)
        logits.float().square().sum().backward()
    assert logits.shape == (2, 1)
    assert logits.isfinite().all()


@every_head
def test_a_head_keeps_the_mode_of_its_model(head):
    model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=3).eval()
    install_head(model, HEADS[head], 5)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_a_model_without_tokens_names_the_heads_that_it_can_take(name):
    model = timm.create_model(name, num_classes=0)
    with pytest.raises(InputError, match="take head=linear or head=two_logit"):
        install_head(model, TOKEN_HEADS["csra"], 5)
    install_head(model, None, 5)
    assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 5)


def test_two_logits_need_a_linear_classifier():
    model = timm.create_model("resnet18", num_classes=0)
    install_head(model, HEADS["two_logit"], 5)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    with pytest.raises(InputError, match=r"DPN\.classifier is no linear layer but Conv2d"):
        install_head(timm.create_model("dpn48b", num_classes=0), HEADS["two_logit"], 5)


@pytest.mark.parametrize("file", sorted((CONF / "head").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_head_of_conf_can_be_installed(file):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        head = instantiate(compose(f"head/{file.stem}").head.layer)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0)
    install_head(model, head, 5)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


@every_token_head
def test_prefix_tokens_and_the_order_of_patches_make_no_difference(head):
    head = TOKEN_HEADS[head](24, 5, PREFIX).eval()
    tokens = torch.randn(2, PREFIX + 9, 24)
    expected = head(tokens)
    other = tokens.clone()
    other[:, :PREFIX] = 1e3
    assert torch.equal(head(other), expected)
    other = tokens[:, [*range(PREFIX), *(PREFIX + torch.randperm(9))]]
    torch.testing.assert_close(head(other), expected)
    assert not torch.equal(head(tokens[:, :-1]), expected)  # each patch counts


def test_cross_entropy_of_two_logits_is_bce_of_their_difference():
    heads = [TwoLogit(24, 5)]
    heads.append(copy.deepcopy(heads[0]))
    features, target = torch.randn(4, 24), torch.randint(2, (4, 5))
    layer = heads[0].classifier
    pairs = nn.functional.linear(features, layer.weight, layer.bias).unflatten(-1, (-1, 2))  # absent, present
    losses = [
        nn.functional.cross_entropy(pairs.flatten(0, 1), target.flatten()),
        nn.functional.binary_cross_entropy_with_logits(heads[1](features), target.float()),
    ]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(heads[0].classifier.weight.grad, heads[1].classifier.weight.grad)
    torch.testing.assert_close(heads[0].classifier.bias.grad, heads[1].classifier.bias.grad)


def test_csra_follows_the_formula_of_the_paper():
    head = CSRA(3, 2, PREFIX, num_heads=2, attention_weight=0.3)  # temperatures 1 and max
    nn.init.normal_(head.bias)
    tokens = torch.randn(1, PREFIX + 4, 3)
    for label in range(2):
        logit = head.bias[label].item()
        for number in range(2):
            weight = head.classifier.weight[2 * number + label]
            scores = [(token @ weight).item() for token in tokens[0, PREFIX:]]
            exponentials = np.exp(scores)
            attention = exponentials / exponentials.sum() if number == 0 else np.eye(4)[np.argmax(scores)]
            logit += np.mean(scores) + 0.3 * sum(a * s for a, s in zip(attention, scores, strict=True))
        assert head(tokens)[0, label].item() == pytest.approx(logit, abs=1e-6)


def test_csra_without_attention_is_a_linear_classifier_on_the_mean_patch():
    head = CSRA(24, 5, PREFIX, num_heads=1, attention_weight=0.0)
    tokens = torch.randn(2, PREFIX + 9, 24)
    expected = nn.functional.linear(tokens[:, PREFIX:].mean(1), head.classifier.weight, head.bias)
    torch.testing.assert_close(head(tokens), expected)


def test_temperature_99_of_csra_is_the_largest_score():
    head = CSRA(24, 5, PREFIX, num_heads=2, attention_weight=1.0)
    nn.init.zeros_(head.classifier.weight[:5])  # only the head with temperature 99 is left
    tokens = torch.randn(2, PREFIX + 9, 24)
    scores = tokens[:, PREFIX:] @ head.classifier.weight[5:].T
    torch.testing.assert_close(head(tokens), scores.mean(1) + scores.amax(1))


def test_csra_lists_the_numbers_of_heads_that_the_paper_has():
    with pytest.raises(InputError, match=r"head\.layer\.num_heads=3: choose from 1, 2, 4, 6, 8"):
        CSRA(24, 5, PREFIX, num_heads=3, attention_weight=0.2)


@pytest.mark.parametrize(("num_labels", "num_groups", "group_size"), [(5, 2, 3), (7, 3, 3), (6, 3, 2), (3, 100, 1)])
def test_each_query_of_ml_decoder_feeds_a_group_of_labels(num_labels, num_groups, group_size):
    head = MLDecoder(24, num_labels, PREFIX, num_groups=num_groups, **DECODER).eval()
    assert head.weight.shape == (min(num_groups, num_labels), 24, group_size)
    nn.init.normal_(head.bias)
    decoded = []
    head.norm3.register_forward_hook(lambda module, args, output: decoded.append(output))
    logits = head(torch.randn(2, PREFIX + 9, 24))
    assert logits.shape == (2, num_labels)
    for label in range(num_labels):
        group, place = divmod(label, group_size)
        expected = decoded[0][:, group] @ head.weight[group, :, place] + head.bias[label]
        torch.testing.assert_close(logits[:, label], expected)


def test_ml_decoder_has_fixed_queries_and_few_parameters_for_many_labels():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        head = instantiate(compose("head/ml_decoder").head.layer)(192, 10_000, 1)
    assert "queries" in head.state_dict()
    # group layers 100 x 192 x 100 + 10,000, feed-forward 0.8 M, attention 0.15 M, embedding 0.04 M
    assert sum(parameter.numel() for parameter in head.parameters()) == pytest.approx(2.9e6, rel=0.02)
    assert head(torch.zeros(2, 5, 192)).shape == (2, 10_000)


def test_queries_of_ml_decoder_come_from_the_seed():
    queries = []
    for _ in range(2):
        torch.manual_seed(3)
        queries.append(TOKEN_HEADS["ml_decoder"](24, 5, PREFIX).queries)
    assert torch.equal(queries[0], queries[1])


@pytest.mark.parametrize("head", ["ml_decoder", "query2label"])
def test_a_decoder_has_its_own_width_that_its_heads_divide(head):
    assert TOKEN_HEADS[head](24, 5, PREFIX, decoder_width=16)(torch.randn(2, PREFIX + 9, 24)).shape == (2, 5)
    with pytest.raises(InputError, match=r"head\.layer\.num_heads=4 does not divide the decoder's width 18"):
        TOKEN_HEADS[head](24, 5, PREFIX, decoder_width=18)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("head", ["linear", "two_logit"])
def test_carried_rows_give_the_logits_of_the_classifier_that_they_come_from(name, head):
    model, image = create(name, head)
    model.eval()
    before, weight = model(image), torch.randn(2, 24)
    carry_rows(model, {3: (weight[0], 0.5), 1: (weight[1], -2.0)})
    features = model.forward_head(model.forward_features(image), pre_logits=True)
    logits = model(image)
    torch.testing.assert_close(logits[:, 3], features @ weight[0] + 0.5)
    torch.testing.assert_close(logits[:, 1], features @ weight[1] - 2.0)
    assert torch.equal(logits[:, [0, 2, 4]], before[:, [0, 2, 4]])


@pytest.mark.parametrize("num_heads", [1, 4])
def test_rows_carried_into_csra_are_exact_where_all_patches_are_alike(num_heads):
    model, _ = create("vit_tiny_patch16_224", "csra")
    install_head(model, partial(CSRA, num_heads=num_heads, attention_weight=0.2), 5)
    weight, token = torch.randn(24), torch.randn(2, 1, 24)
    carry_rows(model, {3: (weight, 0.5)})
    expected = token[:, 0] @ weight + 0.5
    torch.testing.assert_close(model.head(token.expand(-1, 10, -1))[:, 3], expected)
    different = token + torch.randn(2, 10, 24)
    assert (model.head(different)[:, 3] > different[:, 1:].mean(1) @ weight + 0.5).all()


@pytest.mark.parametrize("head", ["ml_decoder", "query2label"])
def test_rows_cannot_be_carried_into_a_decoder(head):
    model, _ = create("vit_tiny_patch16_224", head)
    with pytest.raises(InputError, match="labels cannot be carried over into"):
        carry_rows(model, {3: (torch.zeros(24), 0.0)})


def test_a_factored_head_hands_out_its_factors_in_training_only():
    model, image = create("vit_tiny_patch16_224", "linear")
    expected = model.eval()(image)
    keys, parameters = list(model.state_dict()), list(model.parameters())
    factor_head(model)
    assert isinstance(model.head, FactoredLinear)
    assert list(model.state_dict()) == keys
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(image), expected)
    model.train()
    with torch.no_grad():
        assert torch.equal(model(image), expected)
    factors = model(image)
    torch.testing.assert_close(factors.features @ factors.weight.T + factors.bias, expected)
    assert factors.weight is model.head.weight


@pytest.mark.parametrize("head", ["linear", "two_logit", "csra"])
def test_the_factors_of_a_head_have_the_loss_and_gradients_of_its_logits(head, monkeypatch):
    monkeypatch.setattr(closed_form, "CHUNK_ELEMENTS", 30)
    model, image = create("vit_tiny_patch16_224", head, num_labels=50)
    num_labels = model.train()(image).shape[1]
    loss = MultiLabelLoss(BinaryCrossEntropy(), LabelSpace(tuple(map(str, range(num_labels)))))
    target = (torch.rand(len(image), num_labels, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    results = []
    for answers in (target, target.to_sparse()):
        model.zero_grad()
        logits = model(image)
        value = loss(logits, answers)
        value.backward()
        results.append((value.detach(), {name: part.grad.clone() for name, part in model.named_parameters()}))
        if not answers.is_sparse:
            factor_head(model)
    assert isinstance(logits, FactoredLogits)
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        expected, frozen = loss(model.eval()(image), target), loss(model.train()(image), target)
    torch.testing.assert_close(frozen, expected)


def test_heads_without_factors_are_refused_by_name():
    with pytest.raises(InputError, match="has the head Float32Linear, Float32Linear, whose logits have no factors"):
        factor_head(create("deit_tiny_distilled_patch16_224", "linear")[0])
    model = create("vit_tiny_patch16_224", "ml_decoder")[0]
    assert not can_factor_head(model)
    with pytest.raises(InputError, match="has the head MLDecoder, whose logits"):
        factor_head(model)


@pytest.mark.parametrize("name", ["samvit_base_patch16_224", "crossvit_tiny_240"])
def test_classifiers_of_other_forms_start_at_the_prior(name):
    model = timm.create_model(name, num_classes=0)
    install_head(model, None, 5)
    start_at_log_odds(model, torch.full((5,), -1.25))
    biases = [layer.bias for layer in model.modules() if getattr(layer, "out_features", None) == 5]
    assert torch.equal(torch.cat(biases), torch.full((5 * len(biases),), -1.25))


@every_head
def test_logits_are_float32_and_distinct_under_autocast(head):
    model, image = create("vit_tiny_patch16_224", head)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.eval()(image)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
