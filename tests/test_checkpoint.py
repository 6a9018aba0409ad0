import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import save_file
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.evaluation.predict import save_evaluation
from multihot.evaluation.predictions import Predictions, Share, create_predictions
from multihot.evaluation.scores import evaluate, format_evaluation, mean_loss
from multihot.files import publish_folder, recover_folder, stage_folder
from multihot.labels import Group, LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss
from multihot.model.create import create_model
from multihot.model.heads import Float32Linear, install_head
from multihot.model.heads.install import SingleHeadDeiT
from multihot.model.saved import load_model, save_model
from multihot.ownership import CHECKPOINT
from multihot.run.checkpoint import find_whole
from multihot.seal import seal

LABELS = ("a", "b", "c")
SPACE = LabelSpace(LABELS)
HEADS = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "conf/head").glob("*.yaml"))


@pytest.fixture
def model():
    kwargs = {"patch_size": 12, "embed_dim": 24, "depth": 1, "num_heads": 2}
    return create_model(
        "vit_tiny_patch16_224", num_labels=3, pretrained=False, weights=None, image_size=36, kwargs=kwargs
    ).eval()


def test_plain_timm_loads_the_saved_model(model, tmp_path):
    save_model(model, tmp_path / "best", space=SPACE, head=None)
    loaded = timm.create_model(f"local-dir:{tmp_path}/best", pretrained=True).eval()
    image = torch.randn(2, 3, 36, 36)
    torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
    assert timm.data.resolve_data_config({}, model=loaded)["input_size"] == (3, 36, 36)
    assert list(loaded.pretrained_cfg["label_names"]) == list(LABELS)


def test_a_model_with_other_labels_than_its_run_is_refused(model, tmp_path):
    save_model(model, tmp_path / "best", space=SPACE, head=None)
    load_model(tmp_path / "best", LABELS)
    with pytest.raises(InputError, match="other labels"):
        load_model(tmp_path / "best", ("a", "c", "b"))


def test_a_saved_model_with_nan_is_named_with_file_and_tensor(model, tmp_path):
    torch.nn.init.constant_(model.norm.bias, float("nan"))
    save_model(model, tmp_path / "best", space=SPACE, head=None)
    with pytest.raises(InputError, match=r"best/model.safetensors holds NaN .*\n  norm.bias: 24 of 24 numbers"):
        load_model(tmp_path / "best", LABELS)


def test_a_saved_model_of_before_without_a_seal_is_checked_too(model, tmp_path):
    save_model(model, tmp_path / "best", space=SPACE, head=None)
    (tmp_path / "best/seal.json").unlink()
    config, weights = tmp_path / "best/config.json", tmp_path / "best/model.safetensors"
    whole, content = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"model.safetensors cannot be read as weights: it is damaged or cut short"):
        load_model(tmp_path / "best", LABELS)
    weights.write_bytes(whole)
    config.write_text(json.dumps({**content, "model_args": {**content["model_args"], "depth": 2}}))
    with pytest.raises(InputError, match=r"its weights are not of the model in its config.json"):
        load_model(tmp_path / "best", LABELS)
    config.write_text("{")
    with pytest.raises(InputError, match=r"config.json holds broken JSON"):
        load_model(tmp_path / "best", LABELS)
    config.write_text("{}")
    with pytest.raises(InputError, match="has no architecture, label_names, head"):
        load_model(tmp_path / "best", LABELS)


def test_a_checkpoint_with_nan_is_passed_over_for_the_one_before(tmp_path, caplog):
    for folder, number in (("last", float("nan")), ("last.1", 1.0)):
        (tmp_path / folder).mkdir()
        save_file({"norm.bias": torch.full((2,), number)}, tmp_path / folder / "model.safetensors")
        seal(tmp_path / folder, {})
    assert find_whole(tmp_path / "last") == tmp_path / "last.1"
    assert "model.safetensors: norm.bias holds NaN or infinite numbers" in caplog.text


def settings_of(head):
    """Returns the settings of conf/head/<head>.yaml, as train.py hands them on; None for timm's own head."""
    conf = OmegaConf.load(Path(__file__).resolve().parents[1] / f"conf/head/{head}.yaml")
    return OmegaConf.to_container(conf.layer) if conf.layer else None


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "act_layer": "relu"}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_base_patch16_siglip_224", {}),
    ],
)
def test_every_head_comes_back_with_its_model(head, name, kwargs, tmp_path):
    settings, space = settings_of(head), LabelSpace(LABELS, (Group("pair", ("c", "a"), none=True),), activation="tanh")
    kwargs = {"patch_size": 12, "embed_dim": 24, "depth": 1, "num_heads": 8, **kwargs}
    model = create_model(name, num_labels=3, pretrained=False, weights=None, image_size=36, kwargs=kwargs).eval()
    install_head(model, instantiate(settings), 3)
    save_model(model, tmp_path / "best", space=space, head=settings)
    loaded, image = load_model(tmp_path / "best", LABELS), torch.randn(2, 3, 36, 36)
    assert torch.equal(loaded.eval()(image), model(image))
    assert type(loaded) is type(model)
    assert isinstance(loaded, SingleHeadDeiT) == (
        name.startswith("deit") and head in ("csra", "ml_decoder", "query2label")
    )
    assert (loaded.num_classes, type(loaded.head)) == (
        3, Float32Linear if head == "two_logit" else type(model.head)
    )  # fmt: skip
    assert timm.data.resolve_input_data_config(loaded) == timm.data.resolve_input_data_config(model)
    config = json.loads((tmp_path / "best/config.json").read_text())
    assert LabelSpace.from_config(config["label_space"]) == space
    assert config["head"] == (None if head == "two_logit" else settings)


def test_a_folder_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    folder = tmp_path / "last"
    for text in ("one", "two"):
        (stage_folder(folder) / "file").write_text(text)
        publish_folder(folder, CHECKPOINT)
    (stage_folder(folder) / "file").write_text("half of thr")  # killed here
    assert (folder / "file").read_text() == "two"
    assert not (tmp_path / ".last.old").exists()


def test_a_kill_between_the_two_moves_loses_nothing(tmp_path):
    folder = tmp_path / "last"
    (stage_folder(folder) / "file").write_text("one")
    publish_folder(folder, CHECKPOINT)
    folder.rename(tmp_path / ".last.old")  # the first move of publish_folder
    recover_folder(folder)
    assert (folder / "file").read_text() == "one"


def test_saved_predictions_give_the_same_scores_again(tmp_path):
    rng = np.random.default_rng(0)
    targets = (rng.random((20, 3)) > 0.6).astype(np.int8)
    targets[:, 2] = 0
    manifest = Manifest(LABELS, [f"{row}.jpg" for row in range(20)], csr_array(targets))
    logits = torch.from_numpy(rng.normal(size=(20, 3)).astype(np.float32))
    evaluation = evaluate(Predictions(logits, torch.from_numpy(targets), SPACE))
    new = stage_folder(tmp_path / "test")
    create_predictions(new, manifest, way_out="")
    share = Share(new)
    share.write(np.arange(20), logits.numpy())
    share.file.close()
    save_evaluation(tmp_path / "test", evaluation, origin=None)
    again = evaluate(Predictions.load(tmp_path / "test", SPACE))
    assert again.scores == evaluation.scores
    assert json.loads((tmp_path / "test/metrics.json").read_text()) == evaluation.scores | {"threshold": 0.5}
    assert json.loads((tmp_path / "test/images.json").read_text())[3] == "3.jpg"
    rows = (tmp_path / "test/labels.csv").read_text().splitlines()
    assert rows[0] == "label,support,predicted,ap,auroc,precision,recall,f1,threshold"
    assert rows[3].startswith("c,0,")
    assert rows[3].endswith(",0.5")
    shown = format_evaluation(evaluation)
    assert f"{evaluation.scores['map']:.4f}" in shown
    assert "num_labels_evaluated   2" in shown


@pytest.mark.parametrize("groups", [(), (Group("colour", ("0", "1", "2")),)])
def test_scores_do_not_depend_on_the_number_of_threads(groups):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3333, 77, generator=generator)
    target = (torch.rand(3333, 77, generator=generator) < 0.1).to(torch.int8)
    space = LabelSpace(tuple(map(str, range(77))), groups)
    predictions = Predictions(logits, target, space)
    loss, scores, num_threads = MultiLabelLoss(BinaryCrossEntropy(), space), [], torch.get_num_threads()
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        scores.append({"loss": mean_loss(loss, predictions), **evaluate(predictions).scores})
        assert torch.get_num_threads() == number
    torch.set_num_threads(num_threads)
    assert scores[0] == scores[1] == scores[2]
