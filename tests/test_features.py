import copy
import errno
import json
import os
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from PIL import Image
from scipy.sparse import csr_array
from timm.data import create_transform, resolve_input_data_config
from torch import nn

from multihot.data.loader import create_training_batches
from multihot.data.manifest import Manifest
from multihot.data.resize import use_tensor_resize
from multihot.data.sampling import EvaluationOrder, TrainingOrder
from multihot.errors import InputError
from multihot.evaluation.predict import predict
from multihot.evaluation.predictions import Predictions
from multihot.model.features import HeadOnFeatures, complete_model, read_features
from multihot.model.finetune import Head
from multihot.model.heads import CSRA, MLDecoder, Query2Label, TwoLogit, factor_head, install_head, start_at_log_odds
from multihot.training.features import FeatureCache, create_feature_batches, marking

NUM_IMAGES, SIZE, WIDTH = 9, 32, 24
LABELS = ("cat", "dog", "owl")
DECODER = {"decoder_width": None, "num_heads": 2, "feedforward_width": 8, "dropout": 0.1}
HEADS = {
    "linear": None,
    "two_logit": partial(TwoLogit),
    "csra": partial(CSRA, num_heads=2, attention_weight=0.2),
    "ml_decoder": partial(MLDecoder, num_groups=2, **DECODER),
    "query2label": partial(Query2Label, num_layers=1, **DECODER),
}
FAMILIES = {
    "plain": ("vit_tiny_patch16_224", {}),
    "average": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "registers": ("vit_medium_patch16_reg4_gap_256", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "siglip": ("vit_base_patch16_siglip_224", {}),
    "eva": ("eva02_tiny_patch14_224", {}),
    "beit": ("beit_base_patch16_224", {}),
}
AUGMENT = {"is_training": True, "scale": (0.3, 1.0), "hflip": 0.5, "color_jitter": 0.4}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def create(family="plain", head="linear", **kwargs):
    name, own = FAMILIES[family]
    settings = {"img_size": SIZE, "patch_size": 16, "embed_dim": WIDTH, "depth": 1, "num_heads": 2, **own, **kwargs}
    model = timm.create_model(name, num_classes=0, **settings)
    install_head(model, HEADS[head], len(LABELS))
    return model.eval()


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for number in range(NUM_IMAGES):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(paths[-1])
    targets = (rng.random((NUM_IMAGES, 3)) < 0.4).astype(np.int8)
    targets[2, 1] = -1
    return Manifest(LABELS, paths, csr_array(targets))


class Counter:
    """Counts the images that a model's backbone sees, and can break off."""

    def __init__(self, model, break_after=None):
        self.images, self.break_after = 0, break_after
        model.patch_embed.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.images += len(inputs[0])
        if self.break_after is not None and self.images > self.break_after:
            raise KeyboardInterrupt


def cache_of(model, folder, **changes):
    settings = {"settings": {"data": {"path": "a"}, "mixed_precision": "no"}, "batch_size": 4, "num_workers": 0}
    settings |= {"preprocessing": resolve_input_data_config(model)}
    return FeatureCache(Accelerator(cpu=True), model, folder, **{**settings, **changes})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


def num_seen(model, manifest, folder, **changes):
    """Returns how many images the backbone sees for one reading of the features."""
    counter = Counter(model)
    cache_of(model, folder, **changes).read(manifest)
    return counter.images


def pictures(manifest, model):
    """Returns all pictures (N, 3, H, W) as evaluation shows them."""
    preprocessing = resolve_input_data_config(model)
    resized = use_tensor_resize(create_transform(**preprocessing, use_prefetcher=True))
    mean, std = (torch.tensor(preprocessing[name]).view(3, 1, 1) for name in ("mean", "std"))

    def transform(image):
        return (resized(image) / 255 - mean) / std

    return torch.stack([transform(manifest.read(image)) for image in manifest.images])


# The head on features


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_on_features_gives_the_models_own_logits(family, head):
    model, image = create(family, head, drop_rate=0.1), torch.randn(5, 3, SIZE, SIZE)
    alone = HeadOnFeatures(model).eval()
    with torch.no_grad():
        assert torch.equal(alone(read_features(model, image)), model(image))
    names = dict(model.named_parameters())
    assert all(names[name] is parameter for name, parameter in alone.named_parameters())
    assert alone.num_classes == 3


def test_the_head_on_features_drops_out_as_the_model_does():
    model, image = create(drop_rate=0.5).eval(), torch.randn(5, 3, SIZE, SIZE)
    features, alone = read_features(model, image), HeadOnFeatures(model).train()
    torch.manual_seed(1)
    dropped = alone(features)
    model.train()
    torch.manual_seed(1)
    torch.testing.assert_close(dropped, model(image))
    assert not torch.equal(alone.eval()(features), dropped)


def test_a_head_of_another_make_is_refused():
    with pytest.raises(InputError, match="the head of ResNet cannot be trained alone"):
        HeadOnFeatures(timm.create_model("resnet10t", num_classes=3))


def test_what_is_learned_on_features_reaches_the_complete_model_and_not_the_live_one():
    model, image = create("distilled"), torch.randn(5, 3, SIZE, SIZE)
    Head(num_views=0).apply(model)
    alone = copy.deepcopy(HeadOnFeatures(model))  # an average of the weights is a copy too
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.normal_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    complete = complete_model(model, alone).eval()
    assert type(complete) is type(model)
    assert torch.equal(complete(image), alone.eval()(read_features(model, image)))
    assert not torch.equal(complete(image), model(image))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        complete.head.weight.zero_()
    assert torch.equal(model.head.weight, before["head.weight"])


def test_a_head_in_factors_is_completed_too():
    model, image = create(), torch.randn(5, 3, SIZE, SIZE)
    factor_head(model)
    alone = HeadOnFeatures(model)
    assert torch.equal(complete_model(model, alone).eval()(image), model(image))


# The cache


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["plain", "average", "distilled", "siglip"])
def test_stored_features_give_the_logits_of_the_model(family, head, manifest, folder, tmp_path):
    model = create(family, head)
    cache = cache_of(model, folder)
    order = EvaluationOrder(NUM_IMAGES, batch_size=4)
    batches = create_feature_batches(manifest, cache.read(manifest), order, torch.device("cpu"))
    predict(Accelerator(cpu=True), HeadOnFeatures(model), batches, tmp_path, title="", way_out="")
    logits = Predictions.load(tmp_path).logits
    is_pooled = head in ("linear", "two_logit")
    with torch.no_grad():
        torch.testing.assert_close(logits, model(pictures(manifest, model)), atol=1e-5, rtol=1e-5)
    assert cache.read(manifest).values.dtype == np.float32
    shape = {"plain": (5, WIDTH), "average": (5, WIDTH), "distilled": (6, WIDTH), "siglip": (4, WIDTH)}[family]
    if is_pooled:
        shape = (2, WIDTH) if family == "distilled" else (WIDTH,)
    assert cache.read(manifest).values.shape == (1, NUM_IMAGES, *shape)


def test_features_are_computed_once_and_read_again(manifest, folder):
    model = create()
    first = cache_of(model, folder).read(manifest).values
    assert num_seen(model, manifest, folder) == 0
    assert num_seen(copy.deepcopy(model), manifest, folder, batch_size=2, num_workers=1) == 0
    assert np.array_equal(cache_of(model, folder).read(manifest).values, first)
    [described] = folder.glob("*.json")
    assert json.loads(described.read_text())["images"] == NUM_IMAGES


def test_nothing_is_dropped_out_of_stored_features(manifest, folder):
    model = create(drop_path_rate=0.5, proj_drop_rate=0.5, pos_drop_rate=0.5).train()
    features = cache_of(model, folder).read_pooled(manifest)
    with torch.no_grad():
        expected = read_features(model.eval(), pictures(manifest, model))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def change_weight(model, manifest):
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[0] += 1e-6
    return {}


def change_norm(model, manifest):
    with torch.no_grad():
        model.norm.weight[0] *= 1.001
    return {}


def change_size_of_an_image(model, manifest):
    Image.new("RGB", (50, 50)).save(manifest.images[4])
    return {}


def change_time_of_an_image(model, manifest):
    os.utime(manifest.images[4], ns=(0, 10**18))
    return {}


def change_preprocessing(model, manifest):
    return {"preprocessing": {**resolve_input_data_config(model), "mean": (0.4, 0.5, 0.5)}}


def change_precision(model, manifest):
    return {"settings": {"data": {"path": "a"}, "mixed_precision": "bf16"}}


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_norm,
        change_size_of_an_image,
        change_time_of_an_image,
        change_preprocessing,
        change_precision,
    ],
)
def test_features_are_computed_anew_when_what_they_depend_on_changes(change, manifest, folder):
    model = create()
    cache_of(model, folder).read(manifest)
    changes = change(model, manifest)
    # all images, and one to find the shape
    assert num_seen(model, manifest, folder, **changes) == NUM_IMAGES + 1


@pytest.mark.parametrize(
    "changed",
    [
        {"num_heads": 3},
        {"act_layer": "quick_gelu"},
        {"global_pool": "avg", "fc_norm": False, "final_norm": True},
    ],
)
def test_features_are_computed_anew_when_the_same_weights_mean_something_else(changed, manifest, folder):
    model, other = create(), create(**changed)
    other.load_state_dict(model.state_dict())
    first = cache_of(model, folder).read_pooled(manifest)
    assert num_seen(other, manifest, folder) == NUM_IMAGES + 1
    assert not torch.equal(cache_of(other, folder).read_pooled(manifest), first)


def test_other_images_or_another_order_have_features_of_their_own(manifest, folder):
    model = create()
    features = cache_of(model, folder).read(manifest).values
    assert num_seen(model, manifest.thin_out(4), folder) == 5
    reverse = manifest.subset(np.arange(NUM_IMAGES)[::-1])
    np.testing.assert_allclose(cache_of(model, folder).read(reverse).values[0], features[0, ::-1], atol=1e-6)


def test_a_new_head_needs_no_new_features(manifest, folder):
    model = create()
    cache_of(model, folder).read(manifest)
    start_at_log_odds(model, torch.zeros(3))
    assert num_seen(model, manifest, folder) == 0
    install_head(model, HEADS["two_logit"], 7)
    assert num_seen(model, manifest, folder) == 0
    for head, num_images in (("csra", NUM_IMAGES + 1), ("ml_decoder", 0)):  # tokens, and the same tokens again
        install_head(model, HEADS[head], 5)
        assert num_seen(model, manifest, folder) == num_images


def test_a_split_without_images_has_no_features(manifest, folder):
    empty = manifest.subset([])
    features = cache_of(create(), folder).read(empty)
    order = EvaluationOrder(0, batch_size=4)
    assert not list(create_feature_batches(empty, features, order, torch.device("cpu")))
    assert not folder.exists()


def test_answers_are_no_part_of_the_features(manifest, folder):
    model = create()
    cache_of(model, folder).read(manifest)
    assert num_seen(model, manifest.hide(0.5, seed=0), folder) == 0


@pytest.mark.parametrize(("break_after", "num_done"), [(1, 0), (4, 0), (5, 4), (8, 4), (9, 8)])
def test_an_interrupted_computation_goes_on_to_the_same_bits(break_after, num_done, manifest, folder):
    model = create()
    expected = cache_of(model, folder / "whole").read(manifest).values
    broken = create_like(model)
    Counter(broken, break_after)  # the first image is the one that shows the shape
    with pytest.raises(KeyboardInterrupt):
        cache_of(broken, folder).read(manifest)
    assert not list(folder.glob("*.json"))
    assert num_seen(model, manifest, folder) == NUM_IMAGES - num_done + 1
    assert np.array_equal(cache_of(model, folder).read(manifest).values, expected)
    assert sorted(path.suffix for path in folder.iterdir() if path.is_file()) == [".json", ".npy"]


def test_rows_are_marked_now_and_then(monkeypatch):
    monkeypatch.setattr("multihot.training.features.SECONDS_BETWEEN_MARKS", 10.0)
    now, flushed, is_done = [0.0], [], np.zeros(4, bool)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    values = SimpleNamespace(flush=lambda: flushed.append(is_done.tolist()))
    with marking(values, is_done) as mark:
        mark(np.array([0, 2]))
        assert not is_done.any()
        now[0] = 11.0
        mark(np.array([1]))
        assert is_done.tolist() == [True, True, True, False]
        mark(np.array([3]))
    assert is_done.all()
    assert flushed == [[False] * 4, [True, True, True, False]]  # the values first


def test_marks_of_a_file_that_is_cut_short_count_for_nothing(manifest, folder):
    model = create()
    Counter(model, break_after=5)
    with pytest.raises(KeyboardInterrupt):
        cache_of(model, folder).read(manifest)
    [path] = folder.glob("*.npy")
    os.truncate(path, 200)
    assert num_seen(create_like(model), manifest, folder) == NUM_IMAGES + 1


def create_like(model):
    """Returns a model of the same weights, which nothing breaks off."""
    other = create()
    other.load_state_dict(model.state_dict())
    return other


def test_features_whose_file_is_gone_are_computed_again(manifest, folder):
    model = create()
    cache_of(model, folder).read(manifest)
    [path] = folder.glob("*.npy")
    path.unlink()
    assert num_seen(model, manifest, folder) == NUM_IMAGES + 1


def test_a_second_run_does_not_empty_the_file_that_a_first_one_fills(manifest, folder):
    model = create()
    expected = cache_of(model, folder / "whole").read(manifest).values
    slow = create()
    slow.load_state_dict(model.state_dict())
    runs = []

    def start_second_run(module, inputs, output):
        if len(inputs[0]) == 4 and not runs:  # the first batch
            runs.append(Counter(model, break_after=1))  # the image that shows the shape; its file is there then
            with pytest.raises(KeyboardInterrupt):
                cache_of(model, folder).read(manifest)

    slow.patch_embed.register_forward_hook(start_second_run)
    assert np.array_equal(cache_of(slow, folder).read(manifest).values, expected)
    assert runs


@pytest.mark.parametrize("row", [0, 5])
def test_an_image_that_cannot_be_read_is_named(row, manifest, folder):
    with open(manifest.images[row], "w") as file:
        file.write("no picture")
    with pytest.raises(InputError, match=f"{row}.png"):
        cache_of(create(), folder).read(manifest)


def test_too_small_a_disk_is_an_error_before_it_is_full(manifest, folder, monkeypatch):
    needed = NUM_IMAGES * WIDTH * 4  # bytes, of float32
    usage = shutil._ntuple_diskusage(10**12, 10**12 - needed + 1, needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match=r"the features take 0\.0 GB and .* free: set data\.cache_folder"):
        cache_of(create(), folder).read(manifest)
    assert not list(folder.glob("*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    cache_of(create(), folder).read(manifest)


def test_a_disk_that_fills_meanwhile_is_an_error_and_no_signal(manifest, folder, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fill, raising=False)
    with pytest.raises(InputError, match=r"could not be written .*No space left on device.*cache_folder"):
        cache_of(create(), folder).read(manifest)
    assert not list(folder.glob("*"))


def test_buffers_without_a_dimension_count_too(manifest, folder):
    model = create()
    model.register_buffer("count", torch.tensor(3))
    cache_of(model, folder).read(manifest)
    model.count += 1
    assert num_seen(model, manifest, folder) == NUM_IMAGES + 1


def test_pooled_features_of_tokens_are_the_mean_over_patches(manifest, folder):
    for family, num_prefix_tokens in (("plain", 1), ("registers", 4), ("distilled", 2)):
        model = create(family, "csra")
        with torch.no_grad():
            tokens = read_features(model, pictures(manifest, model))
        expected = tokens[:, num_prefix_tokens:].mean(dim=1)
        pooled = cache_of(model, folder).read_pooled(manifest)
        torch.testing.assert_close(pooled, expected, atol=2e-3, rtol=2e-3)
        assert pooled.dtype == torch.float32


def test_pooled_features_times_both_classifiers_of_a_deit_are_its_logits(manifest, folder):
    model = create("distilled")
    model.head_dist.load_state_dict(model.head.state_dict())  # as a start leaves them
    pooled = cache_of(model, folder).read_pooled(manifest)
    with torch.no_grad():
        torch.testing.assert_close(model.head(pooled), model(pictures(manifest, model)), atol=1e-5, rtol=1e-5)


# Augmented views


def read_views(model, manifest, folder, num_views=3, seed=5, augment=AUGMENT):
    return cache_of(model, folder).read_views(
        manifest, partial(create_transform, **augment), augment, seed=seed, num_views=num_views
    )


def test_views_are_what_training_with_that_augmentation_and_seed_shows_in_that_epoch(manifest, folder):
    model = create()
    views = read_views(model, manifest, folder)
    batches = create_training_batches(
        manifest, partial(create_transform, **AUGMENT), accelerator=Accelerator(cpu=True),
        preprocessing=resolve_input_data_config(model), order=TrainingOrder(len(manifest), 4, seed=5),
        num_workers=0, seed=5,
    )  # fmt: skip
    for epoch in range(3):
        batches.begin(epoch)
        for batch in batches:
            with torch.no_grad():
                expected = read_features(model, batch["image"])
            stored = torch.from_numpy(views.view(epoch)[batch["index"].numpy()])
            torch.testing.assert_close(stored, expected, atol=1e-5, rtol=1e-5)
    differences = [np.abs(views.view(a) - views.view(b)).max() for a, b in ((0, 1), (1, 2), (0, 2))]
    assert min(differences) > 1e-2
    assert np.array_equal(views.view(4), views.view(1))  # taken in turn


@pytest.mark.parametrize(
    "changed", [{"seed": 6}, {"num_views": 2}, {"augment": {**AUGMENT, "hflip": 0.0}}, {"augment": {}}]
)
def test_views_are_computed_anew_when_augmentation_seed_or_number_change(changed, manifest, folder):
    model = create()
    read_views(model, manifest, folder)
    counter = Counter(model)
    read_views(model, manifest, folder)
    assert counter.images == 0
    read_views(model, manifest, folder, **changed)
    assert counter.images == changed.get("num_views", 3) * NUM_IMAGES + 1


def test_training_batches_of_features_hold_the_rows_of_their_epoch(manifest, folder):
    features = read_views(create(), manifest, folder, num_views=2)
    order = TrainingOrder(NUM_IMAGES, batch_size=4, seed=1)
    batches = create_feature_batches(manifest, features, order, torch.device("cpu"))
    for epoch in range(3):
        batches.begin(epoch)
        seen = []
        for batch in batches:
            rows = batch["index"].numpy()
            assert np.array_equal(batch["image"].numpy(), features.values[epoch % 2][rows])
            assert np.array_equal(batch["target"].numpy(), manifest.targets.toarray()[rows])
            seen += rows.tolist()
        assert sorted(seen) == list(range(NUM_IMAGES))


def test_batches_of_features_can_have_sparse_targets(manifest, folder):
    features = cache_of(create(), folder).read(manifest)
    order = EvaluationOrder(NUM_IMAGES, batch_size=4)
    for batch in create_feature_batches(manifest, features, order, torch.device("cpu"), sparse_target=True):
        assert batch["target"].is_sparse
        rows = batch["index"].numpy()
        assert np.array_equal(batch["target"].to_dense().numpy(), manifest.targets.toarray()[rows])


def test_a_head_trained_on_features_is_the_head_trained_on_pictures(manifest, folder):
    """Without augmentation and dropout in the backbone both see the same."""
    weights = []
    for on_features in (True, False):
        torch.manual_seed(0)
        model = create()
        Head(num_views=0).apply(model)
        trained = HeadOnFeatures(model) if on_features else model
        order = TrainingOrder(NUM_IMAGES, batch_size=4, seed=1)
        features = cache_of(model, folder).read(manifest)
        shown = pictures(manifest, model)
        optimizer = torch.optim.SGD(trained.head.parameters(), lr=0.1)
        for batch in create_feature_batches(manifest, features, order, torch.device("cpu")):
            image = batch["image"] if on_features else shown[batch["index"]]
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(trained(image), batch["target"].clamp(min=0)).backward()
            optimizer.step()
        weights.append(model.head.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], atol=1e-6, rtol=1e-5)


def test_another_drop_path_rate_reads_the_same_features(manifest, folder):
    first, model = create(), create(drop_path_rate=0.3)
    model.load_state_dict(first.state_dict())
    cache_of(first, folder).read(manifest)
    assert num_seen(model, manifest, folder) == 0
