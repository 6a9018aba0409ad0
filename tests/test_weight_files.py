"""Files of weights as people have them: checkpoints of many kinds, files of other kinds, and damaged ones."""

import gzip
import json
import logging
import os
import pickle
import re
import tarfile
import zipfile
from argparse import Namespace
from collections import defaultdict

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from multihot.errors import InputError
from multihot.model.architecture import outline_of
from multihot.model.create import create_model
from multihot.model.sources import find_weights, read_classifier, read_source
from multihot.model.state import pick_state

NAME = "vit_tiny_patch16_224"
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return timm.create_model(NAME, img_size=32, num_classes=3, **TINY).state_dict()


def create(weights, *, name=NAME, image_size=32, kwargs=TINY):
    return create_model(
        name, num_labels=5, pretrained=False, weights=str(weights), image_size=image_size, kwargs=kwargs
    )


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def other(state):
    """Returns the same tensors with other values."""
    return {key: value + 1 for key, value in state.items()}


def backbone(state):
    return {key: value for key, value in state.items() if not key.startswith("head.")}


EXTRA = torch.ones(4, 4)
LAYOUTS = {  # checkpoints as others write them, of the model's state and another one -> content, what is said of it
    "a prefix that all share": (lambda s, o: under("backbone.", s), "'backbone.'"),
    "any prefix": (lambda s, o: under("net.my_vit.", s), "'net.my_vit.'"),
    "wrappers in each other": (lambda s, o: under("module._orig_mod.module.", s), "'module._orig_mod.module.'"),
    "timm with an average": (
        lambda s, o: {"epoch": 3, "state_dict": o, "state_dict_ema": under("module.", s)},
        r"'state_dict_ema.module.'.* not used \('state_dict.'\)",
    ),
    "DINO": (
        lambda s, o: {
            "student": under("module.backbone.", o),
            "teacher": {**under("backbone.", backbone(s)), "head.mlp.0.weight": EXTRA},
            "optimizer": {"state": {0: {"exp_avg": EXTRA}}, "param_groups": []},
            "epoch": 9,
        },
        r"'teacher.backbone.'.*not used \('student.module.backbone.'\).*2 tensors.*left out \(teacher.head, optimizer",
    ),
    "MoCo v3": (
        lambda s, o: {
            "arch": "vit_small",
            "state_dict": {
                **under("module.base_encoder.", {**backbone(s), "head.0.weight": EXTRA, "head.1.running_mean": EXTRA}),
                **under("module.momentum_encoder.", {**backbone(o), "head.0.weight": EXTRA}),
                "module.predictor.0.weight": EXTRA,
            },
        },
        r"'state_dict.module.base_encoder.'.*1 tensor .*left out \(state_dict.module",
    ),
    "MAE": (
        lambda s, o: {
            "model": {
                **backbone(s),
                "mask_token": EXTRA[None, :1],
                "decoder_pos_embed": EXTRA,
                "decoder_blocks.0.norm1.weight": EXTRA,
                "decoder_norm.weight": EXTRA,
            },
            "args": None,
        },
        r"'model.'.*3 tensors .*left out \(model.decoder_pos_embed, model.decoder_blocks, ",
    ),
    "SimMIM, I-JEPA": (
        lambda s, o: {"encoder": under("module.", o), "target_encoder": under("module.", backbone(s))},
        "'target_encoder.module.'",
    ),
    "Lightning, lightly": (
        lambda s, o: {
            "state_dict": {**under("backbone.", backbone(s)), "projection_head.layers.0.weight": EXTRA},
            "optimizer_states": [{"state": {}}],
            "hyper_parameters": {"lr": 0.1},
        },
        "'state_dict.backbone.'.*1 tensor not the model's left out",
    ),
    "plain, beside a projection": (lambda s, o: {**backbone(s), "projector.0.weight": EXTRA}, "left out .projector.0"),
    "OpenCLIP": (
        lambda s, o: {**under("visual.trunk.", backbone(s)), "logit_scale": torch.ones([]), "text.positions": EXTRA},
        "'visual.trunk.'",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_model_is_found_in_a_checkpoint_of_any_layout_and_it_is_said_where(layout, state, tmp_path, caplog):
    compose, words = LAYOUTS[layout]
    torch.save(compose(state, other(state)), tmp_path / "a.pth")
    with caplog.at_level(logging.INFO, "multihot"):
        model = create(tmp_path / "a.pth")
    assert all(torch.equal(value, state[key]) for key, value in backbone(model.state_dict()).items())
    said = [record.message for record in caplog.records if "a.pth" in record.message]
    assert len(said) == 1
    assert re.search(words, said[0]), said[0]


def test_of_a_plain_file_nothing_is_said(state, tmp_path, caplog):
    save_file(state, tmp_path / "a.safetensors")
    with caplog.at_level(logging.INFO, "multihot"):
        create(tmp_path / "a.safetensors")
    assert not caplog.records


def test_a_prefix_hides_no_key_that_is_missing_or_too_many(state, tmp_path):
    wrong = {**state, "blocks.2.norm1.weight": torch.ones(24), "cls_token_2": torch.ones(1)}
    del wrong["norm.bias"]
    save_file(under("encoder.", wrong), tmp_path / "a.safetensors")
    with pytest.raises(
        InputError, match=r"(?s)1 missing keys:\n  norm.bias\n2 unexpected keys:\n.*blocks.2.norm1"
    ) as caught:
        create(tmp_path / "a.safetensors")
    assert "cls_token_2" in str(caught.value)


def test_a_classifier_under_a_prefix_is_found(state, tmp_path):
    torch.save({"state_dict": under("module.", state)}, tmp_path / "a.pth")
    classifier = read_classifier(NAME, pretrained=False, weights=str(tmp_path / "a.pth"), class_names=list("abc"))
    assert torch.equal(classifier.weight, state["head.weight"])


def test_formats_that_timm_converts_are_left_to_it(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=32, **TINY)
    meta = {key: value for key, value in model.state_dict().items() if key not in ("reg_token", "pos_embed")}
    meta |= {"register_tokens": model.reg_token, "mask_token": torch.zeros(1, 24)}
    meta["pos_embed"] = torch.cat([torch.ones(1, 1, 24), model.pos_embed], dim=1)
    torch.save(meta, tmp_path / "dinov2.pth")
    loaded = create(tmp_path / "dinov2.pth", name="vit_small_patch14_reg4_dinov2")
    assert torch.equal(loaded.reg_token, model.reg_token)
    assert torch.equal(loaded.cls_token, model.cls_token + 1)


def test_the_image_tower_of_an_original_clip_loads_without_its_projection(tmp_path):
    shapes = {"class_embedding": 24, "conv1.weight": (24, 3, 8, 8), "positional_embedding": (17, 24), "proj": (24, 8)}
    shapes |= {f"{norm}.{part}": 24 for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")}
    for block in ("transformer.resblocks.0.", "transformer.resblocks.1."):
        shapes |= {f"{block}{norm}.{part}": 24 for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        shapes |= {f"{block}attn.in_proj_weight": (72, 24), f"{block}attn.in_proj_bias": 72}
        for layer, out, width in (("attn.out_proj", 24, 24), ("mlp.c_fc", 96, 24), ("mlp.c_proj", 24, 96)):
            shapes |= {f"{block}{layer}.weight": (out, width), f"{block}{layer}.bias": out}
    state = {f"module.visual.{key}": torch.ones(shape) for key, shape in shapes.items()}
    torch.save({"state_dict": {**state, "module.logit_scale": torch.ones([])}, "epoch": 3}, tmp_path / "clip.pth")
    assert create(tmp_path / "clip.pth", name="vit_base_patch16_clip_224").cls_token.eq(1).all()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_that_are_not_finite_are_named_with_file_and_tensor(number, kind, state, tmp_path):
    broken = {key: value.clone() for key, value in state.items()}
    broken["blocks.1.mlp.fc1.weight"][3, 4] = number
    path = tmp_path / f"broken.{kind}"
    save_file(broken, path) if kind == "safetensors" else torch.save({"model": broken}, path)
    words = r"broken.\w+ holds NaN or infinite.*\n  blocks.1.mlp.fc1.weight: 1 of 2304 numbers$"
    with pytest.raises(InputError, match=words):
        create(path)


def test_rows_that_are_not_finite_are_named_where_they_are_wanted(state, tmp_path):
    save_file({**state, "head.weight": state["head.weight"] / 0}, tmp_path / "a.safetensors")
    create(tmp_path / "a.safetensors")  # the rows are not used
    with pytest.raises(InputError, match=r"classifier of .*a.safetensors holds NaN or infinite.*\n  weight: 72 of 72"):
        read_classifier(NAME, pretrained=False, weights=str(tmp_path / "a.safetensors"), class_names=None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floating_weights_of_any_precision_load(dtype, state, tmp_path):
    save_file({key: value.to(getattr(torch, dtype)) for key, value in state.items()}, tmp_path / "a.safetensors")
    torch.testing.assert_close(create(tmp_path / "a.safetensors").norm.weight, state["norm.weight"])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "float8_e4m3fn", "complex64", "int64"])
def test_weights_that_are_no_floats_are_refused_with_their_type(dtype, state, tmp_path):
    key = "blocks.0.attn.qkv.weight"
    torch.save({**state, key: state[key].to(getattr(torch, dtype))}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a.pth holds no weights as .* turned back .*\n  {key}: it is {dtype}$"):
        create(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_and_empty_tensors_are_refused(state, tmp_path):
    key = "blocks.0.attn.qkv.weight"
    for value, words in (
        (torch.quantize_per_tensor(state[key], 0.1, 0, torch.qint8), "it is qint8"),
        (state[key].to_sparse(), "it is torch.sparse_coo"),
        (torch.empty(72, 24, device="meta"), "it has no values"),
        (torch.empty(0), "size mismatch"),
        (torch.tensor(1.0), "size mismatch"),
    ):
        torch.save({**state, key: value}, tmp_path / "a.pth")
        with pytest.raises(InputError, match=f"{key}.*{words}|{words} for {key}"):
            create(tmp_path / "a.pth")


def test_a_file_is_read_as_what_it_is_and_not_as_what_it_is_called(state, tmp_path):
    save_file(state, tmp_path / "a.pth", metadata={"label_names": '["x", "y", "z"]'})
    torch.save(state, tmp_path / "b.safetensors")
    torch.save(state, tmp_path / "c", _use_new_zipfile_serialization=False)
    for file in ("a.pth", "b.safetensors", "c"):
        assert torch.equal(create(tmp_path / file).norm.weight, state["norm.weight"])
    classifier = read_classifier(NAME, pretrained=False, weights=str(tmp_path / "a.pth"), class_names=None)
    assert classifier.names == ("x", "y", "z")


def archive(kind, folder):
    """Writes an archive of a kind and returns its bytes."""
    (folder / "a.txt").write_text("text")
    path = folder / f"archive.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.write(folder / "a.txt", "a.txt")
    elif kind == "tar":
        with tarfile.open(path, "w") as file:
            file.add(folder / "a.txt", "a.txt")
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **{"Transformer/posembed": np.zeros(3)})
    else:
        with zipfile.ZipFile(path, "w") as file:
            for name in MEMBERS[kind]:
                file.writestr(f"model/{name}", "")
    return path.read_bytes()


MEMBERS = {
    "jit": ("data.pkl", "constants.pkl", "code/__torch__.py"),
    "keras": ("metadata.json", "model.weights.h5"),
    "pt2": ("archive_format", "data/weights/weight_0"),
}
FOREIGN = {  # content of a file -> what is said of it
    "empty": (b"", "is empty"),
    "zeros": (bytes(1000), "is empty"),
    "page": (b"\n<!DOCTYPE html><html>", "web page.* /resolve/"),
    "answer": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "what a server answered"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "`git lfs pull`"),
    "message": (b"Entry not found", "begins with 'Entry not found'"),
    "json": (b'{"error": "gated"}', "begins with"),
    "gzip": (gzip.compress(b"x" * 600), "unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5 .* take the PyTorch version"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(600), "GGUF"),
    "onnx": (b"\x08\x0a\x12\x07pytorch" + bytes(600), "ONNX"),
    "pickle": (pickle.dumps({"a": 1}), "not by torch.save.*torch.save"),
    "long header": (b"\xff\xff\xff\x0f\0\0\0\0" + b'{"a":' + bytes(600), "damaged or cut short"),
    "keras": (None, "a Keras model"),
    "pt2": (None, "a program of torch.export"),
    "zip": (None, r"a zip archive of a.txt: unpack"),
    "tar": (None, "a tar archive: unpack"),
    "npz": (None, "timm.create_model.*checkpoint_path"),
    "jit": (None, "TorchScript"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_holds_no_tensors_says_what_it_is_and_the_way_out(kind, suffix, tmp_path):
    content, words = FOREIGN[kind]
    (tmp_path / f"a.{suffix}").write_bytes(archive(kind, tmp_path) if content is None else content)
    with pytest.raises(InputError, match=f"a.{suffix} cannot be read as weights: .*{words}") as caught:
        create(tmp_path / f"a.{suffix}")
    assert len(str(caught.value).splitlines()) == 1


def test_values_that_trainings_keep_beside_the_weights_are_read(state, tmp_path):
    beside = {
        "best_acc": np.float64(0.9), "epoch": np.int64(3), "rng": np.random.get_state(), "history": np.zeros(3),
        "args": Namespace(path=tmp_path, betas=[0.9]),
    }  # fmt: skip
    torch.save({"state_dict": state, **beside}, tmp_path / "a.pth")
    assert torch.equal(create(tmp_path / "a.pth").norm.weight, state["norm.weight"])
    torch.save({"state_dict": state, "losses": defaultdict(list, a=[1.0])}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"would run code \(collections.defaultdict\); where it was made"):
        create(tmp_path / "a.pth")


def test_what_is_no_file_is_named(state, tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "link.pth").symlink_to("gone.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(InputError, match="a pipe or a device"):
        create(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match=r"link.pth.*a link to gone.pth, which is not there"):
        create(tmp_path / "link.pth")
    with pytest.raises(InputError, match="is no folder of weights"):
        create(tmp_path / "folder.pth")
    torch.save(state, tmp_path / "folder.pth/b.pth")
    with pytest.raises(InputError, match=r"no config.json; give a file in it: \['b.pth'\]"):
        create(tmp_path / "folder.pth")


@pytest.mark.parametrize(
    ("weights", "way_out"),
    [
        ("https://example.org/vit.pth", r"download it first: curl -LO https://example.org/vit.pth"),
        ("file:///data/vit.pth", "give its path: model.weights=/data/vit.pth"),
        ("s3://bucket/vit.pth", "copy it to a local file"),
        ("hf-hub:timm/vit", r"model.name=hf-hub:timm/vit model.pretrained=true model.weights=null"),
        ("hf://timm/vit", r"model.name=hf-hub:timm/vit"),
        ("google/vit-base-patch16-224", r"hf download google/vit-base-patch16-224 --local-dir"),
    ],
)
def test_an_address_in_the_place_of_a_file_has_its_way_out(weights, way_out):
    with pytest.raises(InputError, match=way_out):
        find_weights(weights)


def test_a_path_that_cannot_be_looked_for_is_named():
    with pytest.raises(InputError, match="cannot be looked for: File name too long"):
        find_weights("a" * 5000)
    with pytest.raises(InputError, match=r"there is no ~nobody-here/vit\.pth"):
        find_weights("~nobody-here/vit.pth")


def test_weights_in_parts_are_refused_with_how_to_join_them(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": NAME}))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match=r"not in parts.*save_pretrained"):
        create(tmp_path)
    with pytest.raises(InputError, match="give the folder that it is in"):
        create(tmp_path / "model.safetensors.index.json")


def test_weights_of_another_model_size_name_the_model_that_has_it(tmp_path):
    with torch.device("meta"):
        small = timm.create_model("vit_small_patch32_224", depth=12, num_classes=0).state_dict()
    save_file({key: torch.zeros(value.shape) for key, value in small.items()}, tmp_path / "a.safetensors")
    words = r"width 384 and depth 12, the model 192 and 12: try model.name=vit_small_patch32_224"
    with pytest.raises(InputError, match=words):
        create(tmp_path / "a.safetensors", image_size=None, kwargs={})


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("vit.embeddings.patch_embeddings.projection.weight", "give its folder, with config.json"),
        ("encoder.layers.encoder_layer_0.ln_1.weight", "names of torchvision"),
        ("base_model.model.blocks.0.attn.qkv.lora_A.weight", "merge them into the model first"),
        ("state.0.exp_avg", "the state of an optimizer"),
    ],
)
def test_weights_under_the_names_of_another_library_are_told_whose_they_are(key, words, tmp_path):
    save_file({key: torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=f"(?s)does not fit {NAME}.*{words}"):
        create(tmp_path / "a.safetensors")


def test_the_mask_token_of_a_pretraining_is_left_out(tmp_path):
    kwargs = {**TINY, "patch_size": 16}
    model = timm.create_model("beit_base_patch16_224", img_size=32, num_classes=0, **kwargs)
    state = {**model.state_dict(), "mask_token": torch.zeros(1, 1, 24), "lm_head.weight": EXTRA}
    torch.save({"model": state}, tmp_path / "beit.pth")
    loaded = create(tmp_path / "beit.pth", name="beit_base_patch16_224", kwargs=kwargs)
    assert torch.equal(loaded.cls_token, model.cls_token)


def test_weights_for_other_channels_are_named(state, tmp_path):
    key = "patch_embed.proj.weight"
    save_file({**state, key: state[key][:, :1].clone()}, tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match="reads images of 1 channels; images are RGB, with 3"):
        create(tmp_path / "grey.safetensors")


def test_resampled_positions_are_told(state, tmp_path, caplog):
    save_file(state, tmp_path / "a.safetensors")
    with caplog.at_level(logging.INFO, "multihot"):
        create(tmp_path / "a.safetensors", image_size=48)
    words = "made for 17 positions and patches of 8 x 8 pixels; resampled to 37 positions"
    assert words in caplog.text


def test_a_file_in_another_folder_and_at_home(state, tmp_path, monkeypatch):
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("../a.safetensors", "~/a.safetensors"):
        assert read_source(path, NAME).state.keys() == backbone(load_file(tmp_path / "a.safetensors")).keys()


def test_of_a_student_and_a_larger_teacher_the_one_of_the_models_size_is_taken():
    tiny, small = (outline_of(f"vit_{size}_patch16_224") for size in ("tiny", "small"))
    tensors = {**under("student.", tiny.state_dict()), **under("teacher.", small.state_dict())}
    for outline, prefix in ((tiny, "student."), (small, "teacher.")):
        state, note = pick_state(tensors, outline)
        assert {key: value.shape for key, value in state.items()} == {
            key: value.shape for key, value in outline.state_dict().items()
        }
        assert f"those under {prefix!r}" in note
