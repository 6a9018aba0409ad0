import json
import os
import runpy
import shutil

import numpy as np
import pytest
import timm
import torch
from conftest import REPO
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import ImageNetInfo, create_transform, resolve_input_data_config
from timm.layers import resample_abs_pos_embed, resample_patch_embed

from multihot.data.readers.digits import LABELS
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.model.create import create_model
from multihot.model.saved import save_model
from multihot.model.sources import find_weights, name_imagenet, read_classifier, read_source, rename_classes
from multihot.model.weight_files import Classifier

NAME = "vit_tiny_patch16_224"
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
HF_TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
ANIMALS = ("cat", "dog", "cow")


def create(weights, *, name=NAME, image_size=None, kwargs=TINY):
    return create_model(
        name, num_labels=5, pretrained=False, weights=str(weights), image_size=image_size, kwargs=kwargs
    ).eval()


def classifier_of(weights, *, name=NAME, class_names=None):
    return read_classifier(name, pretrained=False, weights=str(weights), class_names=class_names)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model(NAME, img_size=32, num_classes=3, **TINY).eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def save_run(model, folder, space):
    (folder / "config.yaml").touch()
    save_model(model, folder / "best", space=space, head=None)
    return folder


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrapped_models_are_cleaned(model, image, tmp_path, prefix):
    torch.save({"state_dict": {prefix + key: value for key, value in model.state_dict().items()}}, tmp_path / "a.pth")
    features = create(tmp_path / "a.pth", image_size=32).forward_features(image)
    torch.testing.assert_close(features, model.forward_features(image), rtol=0, atol=0)


def test_a_timm_training_checkpoint_gives_its_averaged_weights(model, tmp_path):
    average = {key: value + 1 for key, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": model.state_dict(), "state_dict_ema": average}, tmp_path / "last.pth.tar")
    torch.testing.assert_close(create(tmp_path / "last.pth.tar", image_size=32).norm.bias, average["norm.bias"])
    torch.testing.assert_close(classifier_of(tmp_path / "last.pth.tar").weight, average["head.weight"])


def test_weights_under_model_load_too(model, tmp_path):
    torch.save({"model": model.state_dict()}, tmp_path / "deit.pth")
    backbone = model.state_dict().keys() - {"head.weight", "head.bias"}
    assert read_source(str(tmp_path / "deit.pth"), NAME).state.keys() == backbone


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, is_zip):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"state_dict": {}, "args": Code()}, tmp_path / "bad.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=r"bad.pth cannot .* would run code \(posix.mkdir\).*state_dict\(\), path\)"):
        create(tmp_path / "bad.pth")
    assert not (tmp_path / "harm").exists()


def test_broken_and_half_written_files_are_named(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "whole.safetensors")
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    for kind in ("safetensors", "pth"):
        whole = (tmp_path / f"whole.{kind}").read_bytes()
        for content in (whole[: len(whole) // 2], whole[:20], b"not weights", b""):
            (tmp_path / f"broken.{kind}").write_bytes(content)
            with pytest.raises(InputError, match=f"broken.{kind} cannot be read as weights: .+") as caught:
                create(tmp_path / f"broken.{kind}")
            assert len(str(caught.value).splitlines()) == 1


def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path):
    for content, words in (
        ({"epoch": 3, "net": {}}, "but epoch, net"),
        ({}, "but nothing; .*torch.save"),
        ([1], "no dict"),
    ):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(InputError, match=words):
            create(tmp_path / "other.pth")
    save_file({"head.weight": torch.zeros(3, 24)}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=r"holds a classifier and nothing else; model\.weights needs the whole model"):
        create(tmp_path / "head.safetensors")


def test_an_absent_file_says_what_is_allowed(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*absent.pth; give a .safetensors or .pth file, a timm folder"):
        create(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="shipped are: vit_digits"):
        find_weights("shipped:vit_digit")
    save_file({"head.weight": torch.zeros(3, 24)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"not model\.name=hf-hub:timm/some"):
        read_source(str(tmp_path / "a.safetensors"), "hf-hub:timm/some")


def test_another_patch_and_input_size_resample_as_timm_does(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    resampled = create(tmp_path / "a.safetensors", image_size=42, kwargs={**TINY, "patch_size": 6})
    torch.testing.assert_close(
        resampled.patch_embed.proj.weight, resample_patch_embed(model.patch_embed.proj.weight, [6, 6]), rtol=0, atol=0
    )
    grid = resample_abs_pos_embed(model.pos_embed, new_size=[7, 7], num_prefix_tokens=1)
    torch.testing.assert_close(resampled.pos_embed, grid, rtol=0, atol=0)


def test_the_classifier_of_a_file_is_handed_over_with_the_names_in_its_metadata(model, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(model.half().state_dict(), path, metadata={"label_names": json.dumps(ANIMALS)})
    classifier = classifier_of(path)
    assert (classifier.names, classifier.is_multi_label, classifier.reason) == (ANIMALS, False, "")
    torch.testing.assert_close(classifier.weight, model.head.weight.float(), rtol=0, atol=0)
    torch.testing.assert_close(classifier.bias, model.head.bias.float(), rtol=0, atol=0)
    save_file(model.state_dict(), path, metadata={"label_names": '["a"]', "is_multi_label": "true"})
    classifier = classifier_of(path)
    assert (classifier.names, classifier.is_multi_label) == (None, True)
    assert "3 rows and 1 class names" in classifier.reason
    save_file(model.state_dict(), path, metadata={"label_names": "[cat"})
    with pytest.raises(InputError, match=r"a.safetensors holds broken JSON"):
        classifier_of(path)


def test_shipped_weights_know_the_ten_digits():
    classifier = classifier_of("shipped:vit_digits")
    assert classifier.names == LABELS
    assert classifier.weight.shape == (10, 96)
    assert not classifier.is_multi_label


def test_class_names_come_from_a_list_or_a_text_file(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "names.txt").write_text("cat\n dog \ncow\n\n", encoding="utf-8")
    assert "set start.class_names" in classifier_of(tmp_path / "a.safetensors").reason
    for names in (list(ANIMALS), str(tmp_path / "names.txt")):
        classifier = classifier_of(tmp_path / "a.safetensors", class_names=names)
        assert (classifier.names, classifier.reason) == (ANIMALS, "")
    for names, words in (
        (["cat"], "has 1 names and the source has 3 rows; give one a row"),
        ("imagenet", "the source has 3 rows, unlike ImageNet's classifiers; give a text file"),
        (str(tmp_path / "absent.txt"), "give a text file with one name a line"),
    ):
        with pytest.raises(InputError, match=words):
            classifier_of(tmp_path / "a.safetensors", class_names=names)


def test_imagenet_names_follow_from_the_number_of_rows(tmp_path):
    save_file({"norm.bias": torch.zeros(2), "head.weight": torch.zeros(1000, 2)}, tmp_path / "a.safetensors")
    assert classifier_of(tmp_path / "a.safetensors", class_names="imagenet").names[1] == "goldfish, Carassius auratus"
    for number in (1000, 11821, 21841, 21843):
        assert len(name_imagenet(number)) == number
    assert name_imagenet(1000)[999] == ImageNetInfo("imagenet-1k").index_to_description(999)
    assert name_imagenet(10) is None


def test_a_source_without_rows_of_its_own_says_why(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    deit = timm.create_model(name, img_size=32, num_classes=3, **TINY)
    save_file(deit.state_dict(), tmp_path / "deit.safetensors")
    assert "averages 2 classifiers (head, head_dist)" in (
        classifier_of(tmp_path / "deit.safetensors", name=name).reason
    )
    create(tmp_path / "deit.safetensors", name=name, image_size=32)
    deit.reset_classifier(0)
    save_file(deit.state_dict(), tmp_path / "bare.safetensors")
    bare = classifier_of(tmp_path / "bare.safetensors", name=name)
    assert (bare.weight, bare.reason) == (None, "it has no classifier")
    random = read_classifier(name, pretrained=False, weights=None, class_names=None)
    assert (random.weight, random.reason) == (None, "the model starts from random weights")


def test_a_classifier_on_the_hub_is_read_from_the_model_with_its_own_head(monkeypatch):
    hub = timm.create_model(NAME, num_classes=1000, **TINY)
    monkeypatch.setattr("timm.create_model", lambda name, pretrained: hub)
    classifier = read_classifier(NAME, pretrained=True, weights=None, class_names=None)
    assert classifier.names[0] == "tench, Tinca tinca"
    torch.testing.assert_close(classifier.weight, hub.head.weight, rtol=0, atol=0)


def test_no_network_is_explained_where_the_classifier_is_wanted(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="could not be fetched from the Hugging Face hub"):
        read_classifier(NAME, pretrained=True, weights=None, class_names=None)


def test_a_hub_that_does_not_answer_is_not_asked_for_long(monkeypatch):
    monkeypatch.setattr("multihot.model.hub.answers", lambda url: False)
    seen = []

    def fetch(name, pretrained):
        seen.append(constants.HF_HUB_OFFLINE)
        raise OSError("no such file in the cache")

    monkeypatch.setattr("timm.create_model", fetch)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(InputError, match="no such file in the cache\nWithout a network"):
        read_classifier(NAME, pretrained=True, weights=None, class_names=None)
    assert (seen, constants.HF_HUB_OFFLINE) == ([True], before)


def test_a_damaged_best_is_no_source(model, tmp_path):
    run = save_run(model, tmp_path, LabelSpace(ANIMALS))
    path = run / "best/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(InputError, match=r"best is damaged \(model.safetensors has changed\)"):
        create(run, kwargs={})


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_timm_folder_names_its_classes(model, image, tmp_path, prefix):
    synsets = {"label_names": {"0": "n01", "2": "n03"}, "label_descriptions": {"n01": "cat", "n03": "cow"}}
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True, model_config=synsets)
    assert classifier_of(f"{prefix}{tmp_path}").names == ("cat", "", "cow")
    loaded = create(f"{prefix}{tmp_path}", kwargs={})
    torch.testing.assert_close(loaded.forward_features(image), model.forward_features(image), rtol=0, atol=0)


SPACES = [
    (LabelSpace(ANIMALS), True),
    (LabelSpace.single_label(ANIMALS), False),
    (LabelSpace(ANIMALS, (Group("pet", ("cat", "dog")),)), True),
    (LabelSpace(ANIMALS, (Group("animal", ANIMALS, none=True),)), True),
]


@pytest.mark.parametrize(("space", "is_multi_label"), SPACES)
def test_a_run_folder_gives_its_best_model_and_says_how_its_rows_were_trained(
    model, image, tmp_path, space, is_multi_label
):
    run = save_run(model, tmp_path, space)
    loaded = create(run, kwargs={})
    torch.testing.assert_close(loaded.forward_features(image), model.forward_features(image), rtol=0, atol=0)
    shutil.copytree(run / "best", tmp_path / "alone/copy")
    for folder in (run, run / "best", tmp_path / "alone/copy"):
        classifier = classifier_of(folder)
        assert (classifier.names, classifier.is_multi_label) == (ANIMALS, is_multi_label)


@pytest.mark.parametrize(("space", "is_multi_label"), SPACES)
def test_shrunk_weights_say_how_their_rows_were_trained(model, tmp_path, monkeypatch, space, is_multi_label):
    run, script = save_run(model, tmp_path, space), str(REPO / "scripts/shrink_weights.py")
    (run / "config.yaml").unlink()  # nothing but best/ is needed
    monkeypatch.setattr("sys.argv", [script, str(run), str(tmp_path / "small.safetensors")])
    runpy.run_path(script, run_name="__main__")
    classifier = classifier_of(tmp_path / "small.safetensors")
    assert (classifier.names, classifier.is_multi_label) == (ANIMALS, is_multi_label)
    torch.testing.assert_close(classifier.weight, model.head.weight.half().float(), rtol=0, atol=0)


def test_weights_beyond_float16_are_not_shrunk(model, tmp_path, monkeypatch, capsys):
    torch.nn.init.constant_(model.norm.weight, 1e6)
    save_run(model, tmp_path, LabelSpace(ANIMALS))
    script = str(REPO / "scripts/shrink_weights.py")
    monkeypatch.setattr("sys.argv", [script, str(tmp_path), str(tmp_path / "small.safetensors")])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert "norm.weight: 24 of 24 numbers" in capsys.readouterr().err
    assert not (tmp_path / "small.safetensors").exists()


def test_a_folder_without_best_is_not_shrunk(tmp_path, monkeypatch, capsys):
    script = str(REPO / "scripts/shrink_weights.py")
    monkeypatch.setattr("sys.argv", [script, str(tmp_path), str(tmp_path / "small.safetensors")])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert "is no run folder: it has no best/" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "timm", "hf"])
def test_preprocessing_in_the_settings_goes_before_that_of_the_source(model, request, tmp_path, kind):
    own = {"mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    if kind == "file":
        save_file(model.state_dict(), tmp_path / "a.safetensors")
    elif kind == "timm":
        timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True, data_config=own)
    else:
        save_hf(request.getfixturevalue("transformers"), tmp_path, "ViT")
        of_folder = {"image_mean": own["mean"], "image_std": [1, 1, 1], "resample": 2}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(of_folder))
    source = tmp_path / "a.safetensors" if kind == "file" else tmp_path
    overlay = {"mean": (0.5, 0.6, 0.7), "crop_pct": 0.5, "crop_mode": "squash"}
    loaded = create(source, image_size=32, kwargs={**TINY, "pretrained_cfg_overlay": overlay})
    torch.testing.assert_close(loaded.norm.bias, read_source(str(source), NAME).state["norm.bias"], rtol=0, atol=0)
    preprocessing = resolve_input_data_config(loaded)
    assert {key: preprocessing[key] for key in overlay} == overlay
    assert preprocessing["interpolation"] == ("bicubic" if kind == "file" else "bilinear")


def test_a_head_of_several_layers_comes_off_as_a_whole(model, tmp_path):
    state = {**model.state_dict(), "head.query": torch.zeros(3, 24)}
    save_file(state, tmp_path / "a.safetensors")
    create(tmp_path / "a.safetensors", image_size=32)
    assert classifier_of(tmp_path / "a.safetensors").reason == "its classifier is not linear"


def test_a_folder_of_no_known_kind_lists_the_kinds(tmp_path):
    for config in (None, {"model_type": "bert"}):
        if config:
            (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"(?s)is no folder of weights.*timm.*Hugging Face.*run folder"):
            create(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(InputError, match="choose from ViTModel, ViTForImageClassification, Dinov2Model"):
        create(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"], "model_type": "vit"}')
    with pytest.raises(InputError, match="not complete: hidden_size, image_size, num_attention_heads"):
        create(tmp_path)
    (tmp_path / "config.json").write_text(f'{{"architecture": "{NAME}"}}')
    with pytest.raises(InputError, match=r"needs model.safetensors or pytorch_model.bin"):
        create(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json holds broken JSON"):
        create(tmp_path)


def test_class_names_are_a_list_or_a_mapping_from_rows(model, tmp_path):
    for names in ("cat, dog, cow", {"cat": 0, "dog": 1}):
        save_file(model.state_dict(), tmp_path / "a.safetensors", metadata={"label_names": json.dumps(names)})
        with pytest.raises(InputError, match="class names must be a list, or a mapping from the number"):
            classifier_of(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="give a list in the order of the rows"):
        rename_classes(Classifier(None, None, None, False, ""), {0: "cat"})
    (tmp_path / "names.txt").write_text("\ufeffcat\n", encoding="utf-8")
    assert rename_classes(Classifier(None, None, None, False, ""), str(tmp_path / "names.txt")).names == ("cat",)


@pytest.mark.parametrize(
    "config",
    [
        [],
        {"architectures": None},
        {"architectures": [], "architecture": None},
        {"architecture": NAME, "pretrained_cfg": 3},
        {"architecture": NAME, "pretrained_cfg": {"label_names": 5}},
    ],
)
def test_a_config_with_values_of_another_kind_is_named(config, model, tmp_path):
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json"):
        create(tmp_path)


@pytest.fixture(scope="module")
def transformers():
    library = pytest.importorskip("transformers")
    library.utils.logging.disable_progress_bar()
    return library


def save_hf(transformers, folder, family, task="ForImageClassification", **config):
    """Saves a Hugging Face model whose parameters, all drawn, have the size of trained ones, and returns it."""
    if family == "ViT":
        config = {"intermediate_size": 96, **config}
    config = getattr(transformers, f"{family}Config")(**{**HF_TINY, **config})
    model = getattr(transformers, f"{family}{task}")(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    model.save_pretrained(folder)
    return model


def hf_features(model, image):
    with torch.no_grad():
        return model.base_model(image).last_hidden_state


@pytest.mark.parametrize(
    "settings", [{}, {"qkv_bias": False, "hidden_act": "gelu_new"}, {"num_attention_heads": 3, "hidden_act": "relu"}]
)
def test_a_hugging_face_vit_gives_its_logits_in_timm(transformers, image, tmp_path, settings):
    names = dict(enumerate(ANIMALS))
    reference = save_hf(transformers, tmp_path / "hf", "ViT", id2label=names, layer_norm_eps=1e-6, **settings)
    shape = {"patch_size": 8, "embed_dim": 24, "depth": 2}
    model, classifier = create(tmp_path / "hf", kwargs=shape), classifier_of(tmp_path / "hf")
    assert (classifier.names, classifier.is_multi_label, classifier.reason) == (ANIMALS, False, "")
    model.reset_classifier(3)
    model.head.load_state_dict({"weight": classifier.weight, "bias": classifier.bias})
    with torch.no_grad():
        torch.testing.assert_close(model(image), reference(image).logits, rtol=0, atol=1e-5)
    timm.models.save_for_hf(model, str(tmp_path / "timm"), safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    torch.testing.assert_close(again(image), model(image), rtol=0, atol=0)  # nothing was set that timm cannot save


def test_the_epsilon_of_hugging_face_makes_no_difference_that_float32_shows(transformers, image, tmp_path):
    reference = save_hf(transformers, tmp_path, "ViT", "Model", layer_norm_eps=1e-12)
    features = create(tmp_path).forward_features(image)
    torch.testing.assert_close(features, hf_features(reference, image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", ["Model", "ForImageClassification"])
@pytest.mark.parametrize(
    ("family", "name", "settings"),
    [
        ("Dinov2", "vit_small_patch14_dinov2", {}),
        ("Dinov2", "vit_giant_patch14_dinov2", {"use_swiglu_ffn": True}),
        ("Dinov2WithRegisters", "vit_small_patch14_reg4_dinov2", {"num_register_tokens": 4}),
    ],
)
def test_a_hugging_face_dinov2_gives_its_features_in_timm(transformers, image, tmp_path, family, name, settings, task):
    reference = save_hf(transformers, tmp_path, family, task, **settings)
    model = create(tmp_path, name=name)
    torch.testing.assert_close(model.forward_features(image), hf_features(reference, image), rtol=1e-5, atol=1e-5)


def test_what_a_hugging_face_head_cannot_hand_over_is_said(transformers, tmp_path):
    save_hf(transformers, tmp_path / "dino", "Dinov2", id2label=dict(enumerate(ANIMALS)))
    dino = classifier_of(tmp_path / "dino", name="vit_small_patch14_dinov2")
    assert (dino.names, dino.weight, dino.bias) == (ANIMALS, None, None)
    assert "mean of the patches" in dino.reason
    save_hf(transformers, tmp_path / "bare", "ViT", "Model")
    assert classifier_of(tmp_path / "bare").reason == "it has no classifier"
    save_hf(transformers, tmp_path / "many", "ViT", problem_type="multi_label_classification")
    many = classifier_of(tmp_path / "many")
    assert (many.names, many.is_multi_label) == (None, True)  # LABEL_0, LABEL_1 are no names
    assert many.weight.shape == (2, 24)


def test_a_hugging_face_folder_of_another_size_names_the_keys(transformers, tmp_path):
    save_hf(transformers, tmp_path, "ViT")
    with pytest.raises(InputError, match=r"(?s)does not fit vit_tiny.*12 missing keys:.*blocks.2.norm1.weight"):
        create(tmp_path, kwargs={**TINY, "depth": 3})
    with pytest.raises(InputError, match="size mismatch for cls_token") as caught:
        create(tmp_path, kwargs={**TINY, "embed_dim": 48})
    assert len(str(caught.value).splitlines()) < 10
    with pytest.raises(InputError, match=r"4 missing keys:\n  blocks.0.ls1.gamma"):
        create(tmp_path, name="vit_small_patch14_dinov2")


def test_a_hugging_face_folder_brings_its_preprocessing_and_pytorch_bin(transformers, tmp_path):
    save_hf(transformers, tmp_path, "ViT")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "resample": 2, "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    preprocessing = resolve_input_data_config(create(tmp_path))
    assert preprocessing["input_size"] == (3, 32, 32)
    assert (preprocessing["mean"], preprocessing["std"]) == ((0.1, 0.2, 0.3), (1, 2, 3))
    assert preprocessing["interpolation"] == "bilinear"


@pytest.mark.parametrize(
    "settings",
    [{"size": {"height": 32, "width": 32}}, {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}],
)
def test_an_image_is_cut_as_its_hugging_face_preprocessor_does(transformers, tmp_path, settings):
    save_hf(transformers, tmp_path, "ViT")
    kind = transformers.ViTImageProcessor if "crop_size" not in settings else transformers.BitImageProcessor
    processor = kind(**settings)
    processor.save_pretrained(tmp_path)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)).resize((600, 300))
    theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
    preprocessing = resolve_input_data_config(create(tmp_path))
    ours = create_transform(**preprocessing)(photo)
    assert (ours - theirs).abs().mean() < 0.02  # one of them may round the resized pixels


@pytest.mark.parametrize(("setting", "value"), [("hidden_act", "laplace"), ("layer_norm_eps", 1e-3)])
def test_hugging_face_settings_that_timm_cannot_follow_are_refused(transformers, tmp_path, setting, value):
    save_hf(transformers, tmp_path, "ViT")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, setting: value}))
    with pytest.raises(InputError, match=setting):
        create(tmp_path)
