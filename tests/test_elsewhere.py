"""best/ in the hands of others: what plain timm and transformers make of it, and runs of before."""

import hashlib
import json
import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import transformers
from conftest import REPO
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from timm.data import resolve_input_data_config
from timm.models import save_for_hf

from multihot.data.loader import Normalise, create_steps
from multihot.decisions import MicroF1, fit_decisions
from multihot.decisions.decisions import DECISIONS_FILE, Decisions
from multihot.errors import InputError
from multihot.evaluation.predictions import hash_model
from multihot.export.repair import repair_model
from multihot.files import stage_folder
from multihot.labels import Group, LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.model.create import create_model
from multihot.model.heads import install_head
from multihot.model.saved import load_model, save_model
from multihot.model.sources import read_classifier, read_source
from multihot.model.stored import CONFIG, OF_DECISIONS, WEIGHTS, save_decisions
from multihot.run.folder import Run
from multihot.seal import find_fault, seal

LABELS = tuple("abcdefg")  # seven: a pipeline keeps five
SPACES = {
    "independent": LabelSpace(LABELS),
    "single_label": LabelSpace.single_label(LABELS),
    "groups": LabelSpace(LABELS, (Group("pair", ("a", "b")),)),
    "none": LabelSpace(LABELS, (Group("all", LABELS, none=True),)),
}
PROBLEMS = {"independent": "multi_label_classification", "single_label": "single_label_classification"}
LINEAR, OWN = ("linear", "two_logit"), ("csra", "ml_decoder", "query2label")
CLASSES = {"csra": "CSRA", "ml_decoder": "MLDecoder", "query2label": "Query2Label"}
NAME, TINY = "vit_tiny_patch16_224", {"patch_size": 12, "embed_dim": 24, "depth": 1, "num_heads": 8}
RESIZED = 2e-3  # of logits, on noise: others resize by Pillow


def head_settings(head):
    """Returns the settings of conf/head/<head>.yaml, as train.py hands them on; None for timm's own head."""
    layer = OmegaConf.load(REPO / f"conf/head/{head}.yaml").layer
    return OmegaConf.to_container(layer) if layer else None


def build(head, name=NAME):
    torch.manual_seed(0)
    model = create_model(name, num_labels=7, pretrained=False, weights=None, image_size=36, kwargs=TINY)
    install_head(model, instantiate(head_settings(head)), 7)
    return model.eval()


def save(folder, head="linear", space="independent", name=NAME):
    """Returns a best/ folder as a training writes it."""
    save_model(build(head, name), folder / "best", space=SPACES[space], head=head_settings(head))
    return folder / "best"


def save_as_before(folder, head="linear", space="independent", name=NAME):
    """Returns a best/ folder as trainings wrote it before."""
    space, model, best = SPACES[space], build(head, name), folder / "best"
    config = {"label_names": list(LABELS), "head": head_settings(head), "label_space": space.to_config()}
    data_config = resolve_input_data_config(model)
    save_for_hf(model, str(best), model_config=config, data_config=data_config, safe_serialization=True)
    seal(best, {})
    return best


def read_config(best):
    return json.loads((best / CONFIG).read_text())


@pytest.fixture
def image():
    return torch.randn(3, 3, 36, 36, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    return Image.fromarray(pixels)


def pixels_of(model, picture):
    """Returns what evaluate.py gives a model of a picture, float (1, 3, H, W)."""
    preprocessing = resolve_input_data_config(model)
    transform, _ = create_steps(timm.data.create_transform, preprocessing)
    normalise = Normalise(preprocessing["mean"], preprocessing["std"], torch.device("cpu"))
    return normalise(torch.as_tensor(transform(picture))[None])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("head", LINEAR)
def test_plain_timm_gives_the_same_logits(head, space, image, tmp_path):
    best = save(tmp_path, head, space)
    loaded = timm.create_model(f"local-dir:{best}", pretrained=True).eval()
    assert torch.equal(loaded(image), load_model(best, LABELS).eval()(image))
    assert loaded.pretrained_cfg["label_names"] == list(LABELS)


@pytest.mark.parametrize("head", LINEAR)
def test_plain_timm_loads_a_model_of_two_classifiers(head, image, tmp_path):
    best = save(tmp_path, head, name="deit_tiny_distilled_patch16_224")
    loaded = timm.create_model(f"local-dir:{best}", pretrained=True).eval()
    assert torch.equal(loaded(image), build(head, "deit_tiny_distilled_patch16_224")(image))


@pytest.mark.parametrize("name", [NAME, "vit_base_patch16_siglip_224"])  # of SigLIP timm loads what fits
@pytest.mark.parametrize("head", OWN)
def test_plain_timm_refuses_a_head_of_ours(head, name, tmp_path):
    best = save(tmp_path, head, name=name)
    words = rf"Unknown model \({name} with the head {CLASSES[head]}, which multihot.model.saved.load_model loads\)"
    for options in ({}, {"num_classes": 7}, {"num_classes": 0}, {"global_pool": "avg"}):
        with pytest.raises(RuntimeError, match=words):
            timm.create_model(f"local-dir:{best}", pretrained=True, **options)


@pytest.mark.parametrize("head", OWN)
def test_no_lenient_loader_takes_a_head_of_ours_for_a_classifier(head, tmp_path):
    state = load_file(save(tmp_path, head) / WEIGHTS)
    model = timm.create_model(NAME, img_size=36, num_classes=7, **TINY)
    found = model.load_state_dict(state, strict=False)
    assert {"head.weight", "head.bias"} <= {*found.missing_keys}
    assert {key for key in state if "head" in key} == {*found.unexpected_keys}
    assert all(key.startswith("multihot_head.") for key in found.unexpected_keys)


@pytest.mark.parametrize("space", PROBLEMS)
@pytest.mark.parametrize("head", LINEAR)
def test_transformers_gives_the_same_logits_and_probabilities(head, space, picture, tmp_path):
    best = save(tmp_path, head, space)
    model, own = transformers.AutoModelForImageClassification.from_pretrained(best), load_model(best, LABELS).eval()
    assert model.config.problem_type == PROBLEMS[space]
    processor = transformers.AutoImageProcessor.from_pretrained(best)
    with torch.no_grad():
        image = pixels_of(own, picture)
        expected, several = own(image), torch.cat([image, image.flip(3), image.flip(2)])
        assert torch.equal(model(several).logits, own(several))
        # of one image: tensors stay where they were in the file, at odd addresses, where sums round otherwise
        torch.testing.assert_close(model(image).logits, expected, rtol=0, atol=1e-6)
        theirs = processor(picture, return_tensors="pt")["pixel_values"]
        assert ((theirs - image).abs() * 255 * 0.5).max() < 2.1  # grey levels, by a resize that rounds otherwise
        given = model(theirs).logits
    torch.testing.assert_close(given, expected, rtol=0, atol=RESIZED)
    pipeline = transformers.pipeline("image-classification", str(best))
    for options, wanted in (
        ({}, SPACES[space].probability(given)),
        ({"function_to_apply": "sigmoid"}, given.sigmoid()),
    ):
        scores = {row["label"]: row["score"] for row in pipeline(picture, top_k=len(LABELS), **options)}
        assert [scores[label] for label in LABELS] == pytest.approx(wanted[0].tolist(), abs=1e-6)
    assert len(pipeline(picture, top_k=None)) == 5  # what docs/elsewhere.md warns of


@pytest.mark.parametrize(
    ("head", "space"),
    [*((head, "independent") for head in OWN), ("linear", "groups"), ("csra", "groups"), ("linear", "none")],
)
def test_transformers_refuses_what_it_cannot_give(head, space, tmp_path):
    best = save(tmp_path, head, space)
    reason = "the head" if head in OWN else "groups of labels that exclude each other"
    for load in (
        transformers.AutoConfig.from_pretrained,
        transformers.AutoModelForImageClassification.from_pretrained,
        transformers.AutoModel.from_pretrained,
        lambda folder: transformers.pipeline("image-classification", str(folder)),
    ):
        with pytest.raises(ValueError, match=f"model type `multihot model with {reason}"):
            load(best)
    with pytest.raises(ValueError, match="Unrecognized image processor"):
        transformers.AutoImageProcessor.from_pretrained(best)
    if head in OWN:
        with pytest.raises(ImportError, match=r"which multihot\.model\.saved\.load_model loads"):
            transformers.TimmWrapperForImageClassification.from_pretrained(best)


def fit(space="independent"):
    logits = torch.randn(60, 7, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(60, 7).scatter(1, torch.arange(60)[:, None] % 7, 1)
    return fit_decisions(LogitsAndTarget(logits, target), SPACES[space], MicroF1(1.0), per_label=True)


@pytest.mark.parametrize("space", PROBLEMS)
def test_thresholds_and_calibration_are_in_the_config_and_survive_transformers(space, image, tmp_path):
    best, decisions = save(tmp_path, space=space), fit(space)
    model, logits = hash_model(best), load_model(best, LABELS).eval()(image)
    save_decisions(best, decisions, model)
    assert (hash_model(best), find_fault(best)) == (model, None)
    assert Decisions.load(best).sha256 == decisions.sha256
    config, saved = read_config(best), json.loads((best / DECISIONS_FILE).read_text())
    assert config["thresholds"] == decisions.thresholds()
    assert {name: config[name] for name in OF_DECISIONS} == {name: saved[name] for name in OF_DECISIONS}
    assert torch.equal(load_model(best, LABELS).eval()(image), logits)
    assert torch.equal(timm.create_model(f"local-dir:{best}", pretrained=True).eval()(image), logits)
    loaded = transformers.AutoModelForImageClassification.from_pretrained(best)
    loaded.save_pretrained(tmp_path / "again")
    again = read_config(tmp_path / "again")
    assert {name: again[name] for name in OF_DECISIONS} == {name: saved[name] for name in OF_DECISIONS}
    assert (again["label_names"], again["problem_type"]) == (list(LABELS), PROBLEMS[space])
    assert torch.equal(timm.create_model(f"local-dir:{best}", pretrained=True).eval()(image), logits)


def test_a_kill_while_decisions_are_saved_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    best = save(tmp_path)
    model, steps, ended = hash_model(best), 0, False
    replace = __import__("os").replace

    def kill(*paths):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        replace(*paths)

    while not ended:
        left, steps = steps, steps + 1
        with monkeypatch.context() as patch:
            patch.setattr("multihot.files.os.replace", kill)
            try:
                save_decisions(best, fit(), model)
                ended = True
            except KeyboardInterrupt:
                pass
        Run(tmp_path).recover()
        assert (find_fault(best), hash_model(best)) == (None, model)
        load_model(best, LABELS)
        assert ("thresholds" in read_config(best)) == (best / DECISIONS_FILE).exists()
    assert steps > 4
    assert (best / DECISIONS_FILE).exists()


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("head", [*LINEAR, *OWN])
def test_a_run_of_before_loads_and_is_repaired_to_what_is_written_now(head, space, image, tmp_path):
    (tmp_path / "new").mkdir()
    best, new = save_as_before(tmp_path, head, space), save(tmp_path / "new", head, space)
    logits, model = load_model(best, LABELS).eval()(image), hash_model(best)
    assert torch.equal(logits, load_model(new, LABELS).eval()(image))
    (best / "mine.txt").write_text("kept")
    fit(space).save(best)
    changes = repair_model(Run(tmp_path), SPACES[space])
    assert "model_args" in changes[0]
    assert (hash_model(best), find_fault(best)) == (model, None)
    config = read_config(best)
    assert {name: config.pop(name) for name in OF_DECISIONS}["thresholds"] == fit(space).thresholds()
    assert config == read_config(new)
    state = load_file(new / WEIGHTS)
    assert all(torch.equal(value, state[key]) for key, value in load_file(best / WEIGHTS).items())
    assert torch.equal(load_model(best, LABELS).eval()(image), logits)
    assert {path.name for path in best.iterdir()} == {CONFIG, WEIGHTS, "seal.json", DECISIONS_FILE, "mine.txt"}
    before = {path: path.stat().st_mtime_ns for path in best.iterdir()}
    assert repair_model(Run(tmp_path), SPACES[space]) == []
    assert {path: path.stat().st_mtime_ns for path in best.iterdir()} == before
    assert not stage_folder(best).with_name(".best.old").exists()


def test_two_logits_of_before_differ_from_one_layer_by_rounding_alone(image, tmp_path):
    best, model = save_as_before(tmp_path, "two_logit"), build("two_logit").double()
    features = model.forward_head(model.forward_features(image.double()), pre_logits=True)
    layer = model.head.classifier
    pairs = torch.nn.functional.linear(features, layer.weight, layer.bias).unflatten(-1, (-1, 2))
    loaded = load_model(best, LABELS).eval()(image)
    torch.testing.assert_close(loaded.double(), pairs[..., 1] - pairs[..., 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", [*LINEAR, "csra"])
def test_the_hash_of_a_model_of_before_is_that_of_its_files_unless_they_are_read_otherwise_now(head, tmp_path):
    best = save_as_before(tmp_path, head)
    parts = [hashlib.sha256((best / name).read_bytes()).digest() for name in (CONFIG, WEIGHTS)]
    assert (hash_model(best) == hashlib.sha256(b"".join(parts)).hexdigest()) == (head != "two_logit")


@pytest.mark.parametrize("head", OWN)
def test_shrunk_weights_keep_the_names_that_no_other_takes(head, tmp_path):
    best = save(tmp_path, head)
    runpy.run_path(str(REPO / "scripts/shrink_weights.py"))["shrink"](best, tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == load_file(best / WEIGHTS).keys()
    source = read_source(str(tmp_path / "a.safetensors"), NAME)
    assert not [key for key in source.state if "head" in key]
    assert load_model(best, LABELS).pretrained_cfg["architecture"] == NAME


def test_a_damaged_model_is_not_repaired(tmp_path):
    best = save_as_before(tmp_path)
    content = (best / WEIGHTS).read_bytes()
    (best / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"damaged \(model.safetensors has changed\)"):
        repair_model(Run(tmp_path), SPACES["independent"])
    with pytest.raises(InputError, match=r"damaged \(model.safetensors has changed\)"):
        save_decisions(best, fit(), "")
    assert "problem_type" not in read_config(best)
    assert not (best / DECISIONS_FILE).exists()


@pytest.mark.parametrize("write", [save, save_as_before])
@pytest.mark.parametrize("head", [*LINEAR, *OWN])
def test_every_model_is_a_start_for_another(head, write, image, tmp_path):
    best = write(tmp_path, head)
    (tmp_path / "config.yaml").touch()
    for weights in (tmp_path, best, best / WEIGHTS):
        source = read_source(str(weights), NAME)
        assert not [key for key in source.state if "head" in key]
        model = create_model(NAME, num_labels=3, pretrained=False, weights=str(weights), image_size=36, kwargs=TINY)
        assert torch.equal(model.eval().forward_features(image), build(head).forward_features(image))
    classifier = read_classifier(NAME, pretrained=False, weights=str(best), class_names=None)
    assert classifier.names == LABELS
    if head in LINEAR:
        loaded = load_model(best, LABELS)
        assert torch.equal(classifier.weight, loaded.head.weight)
        assert torch.equal(classifier.bias, loaded.head.bias)
        assert classifier.is_multi_label
    else:
        assert classifier.reason == "its classifier is not linear"


def read_logits(folder):
    return load_file(folder / "predictions.safetensors")["logits"]


def test_two_logits_train_measure_resume_and_start_another_run(train, evaluate, tmp_path, caplog):
    train("name=a", "head=two_logit", "epochs=1")
    measured = read_logits(tmp_path / "a/val")
    evaluate(f"run={tmp_path}/a", "split=val")
    assert "the logits are those in" in caplog.text
    evaluate(f"run={tmp_path}/a", "split=val", "predict=again")
    assert torch.equal(read_logits(tmp_path / "a/val"), measured)
    assert load_file(tmp_path / "a/best" / WEIGHTS)["head.weight"].shape[0] == 10
    assert load_file(tmp_path / "a/last" / WEIGHTS)["head.classifier.weight"].shape[0] == 20
    before = json.loads((tmp_path / "a/history.json").read_text())
    train("name=a", "head=two_logit", "epochs=2", "resume=true")
    assert json.loads((tmp_path / "a/history.json").read_text())[:-1] == before
    train("name=b", f"model.weights={tmp_path}/a", "start=keep", "epochs=0")
    torch.testing.assert_close(read_logits(tmp_path / "b/val"), read_logits(tmp_path / "a/val"))


def make_old(run, head):
    """Gives a run a best/ as it was written before, of the model that it has."""
    best = run / "best"
    model = load_model(best, tuple(json.loads((run / "labels.json").read_text())))
    config = {name: value for name, value in read_config(best).items() if name in ("label_names", "label_space")}
    config["head"] = head
    save_for_hf(
        model, str(best), model_config=config, data_config=resolve_input_data_config(model), safe_serialization=True
    )
    (best / "seal.json").unlink()
    seal(best, {})


def test_the_script_repairs_a_run_and_its_predictions_stay_valid(train, evaluate, call_script, tmp_path, caplog):
    train("name=a")
    make_old(tmp_path / "a", head=None)
    evaluate(f"run={tmp_path}/a", "split=test")
    told = call_script("scripts/repair_run.py", f"run={tmp_path}/a")
    assert told.returncode == 0, told.stderr
    assert "config.json has other model_args, problem_type" in told.stdout
    caplog.clear()
    evaluate(f"run={tmp_path}/a", "split=test")
    assert "the logits are those in" in caplog.text
    told = call_script("scripts/repair_run.py", f"run=[{tmp_path}/a]")
    assert "nothing to repair" in told.stdout
    told = call_script("scripts/repair_run.py", f"run={tmp_path}/none")
    assert told.returncode == 1
    assert "is no complete run" in told.stderr


def test_the_snippets_of_the_page_run_and_give_what_they_say(picture, tmp_path, capsys):
    best = save(tmp_path)
    save_decisions(best, fit(), hash_model(best))
    picture.save(tmp_path / "1.png")
    page = (REPO / "docs/elsewhere.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    names = {}
    exec(code.replace("runs/<name>/best", str(best)).replace("photos/1.jpg", str(tmp_path / "1.png")), names)
    with torch.no_grad():
        logits = load_model(best, LABELS).eval()(pixels_of(names["model"].timm_model, picture))
    expected = logits.sigmoid()[0].tolist()
    assert {row["label"]: row["score"] for row in names["answers"]} == pytest.approx(
        dict(zip(LABELS, expected, strict=True)), abs=RESIZED
    )
    held = [label for label, holds in zip(LABELS, fit().decide(names["logits"][None])[0], strict=True) if holds]
    assert capsys.readouterr().out.splitlines()[-1] == str(held)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of Pillow, as others call it
def test_others_decode_some_kinds_of_pictures_otherwise(tmp_path):
    script = runpy.run_path(str(REPO / "scripts/compare_decoding.py"))
    Image.fromarray(np.indices((64, 96)).sum(0).astype(np.uint8)).convert("RGB").resize((192, 128)).save(
        tmp_path / "a.png"
    )
    preprocessing = {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 1.0}
    predictor = SimpleNamespace(
        preprocessing=preprocessing,
        min_side=32,
        prepare=lambda image: np.asarray(create_steps(timm.data.create_transform, preprocessing)[0](image)),
        space=LabelSpace(("a", "b")),
        logits=lambda pixels: pixels[:, :2].float().mean((2, 3)) / 32 - 2 + pixels[:, :2, 0].float().mean(2) / 32,
    )
    moved = {
        kind: script["compare"](predictor, [tmp_path / "a.png"], write, tmp_path)
        for kind, write in script["KINDS"].items()
    }
    for kind, largest in moved.items():
        is_alike = kind.startswith("PNG or JPEG") or "pixels" in kind
        assert (largest["Pillow"] < 0.02) == is_alike, (kind, largest)
        assert (largest["transformers"] < 0.02) == (is_alike or "EXIF" in kind), (kind, largest)
