import json
import re
from functools import cache, partial
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform
from timm.layers import use_fused_attn

from multihot.data.resize import use_tensor_resize
from multihot.decisions import Decisions, MacroF1, MicroF1, fit_decisions
from multihot.errors import InputError
from multihot.evaluation.decided import settle_decisions
from multihot.export import onnx_file
from multihot.export.onnx_answers import create_answers
from multihot.export.onnx_build import add_metadata, build, describe_model
from multihot.export.onnx_check import check_answers, check_logits
from multihot.export.onnx_export import Place, write_checked
from multihot.export.onnx_file import ONNX_MODEL, TRITON_MODEL, publish
from multihot.export.onnx_graph import describe, join
from multihot.export.onnx_model import OnnxModel
from multihot.export.onnx_names import OUTPUTS
from multihot.export.onnx_pixels import create_preprocessing
from multihot.export.onnx_sample import Sample
from multihot.export.onnx_trace import is_whole, to_float16, trace, unfused_attention
from multihot.export.openvino import describe_for_openvino
from multihot.labels import Group, LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.model.heads import CSRA, MLDecoder, Query2Label, TwoLogit, install_head
from multihot.prediction.predictor import open_predictor
from multihot.run.folder import load_run

LABELS = ("red", "big", "cat", "green", "dog", "small", "two words")
GROUPS = (Group("colour", ("green", "red")), Group("size", ("small", "big"), none=True))  # in another order
SPACES = {
    "independent": LabelSpace(LABELS),
    "groups": LabelSpace(LABELS, GROUPS),
    "single_label": LabelSpace.single_label(LABELS),
}
DECODER = {"decoder_width": None, "num_heads": 2, "feedforward_width": 16, "dropout": 0.1}
HEADS = {
    "linear": None,
    "two_logit": partial(TwoLogit),
    "csra": partial(CSRA, num_heads=4, attention_weight=0.2),
    "ml_decoder": partial(MLDecoder, num_groups=3, **DECODER),
    "query2label": partial(Query2Label, num_layers=1, **DECODER),
}
PREPROCESSING = {
    "input_size": (3, 32, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "interpolation": "bicubic",
    "crop_pct": 0.9, "crop_mode": "center",
}  # fmt: skip
EMPTY = onnx.helper.make_model(onnx.GraphProto(), opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)

EMPTY_FILE = onnx.helper.make_model(
    onnx.parser.parse_graph("g (float[1] a) => (float[1] b) { b = Identity(a) }"),
    opset_imports=EMPTY.opset_import,
    ir_version=10,
).SerializeToString()


def fit(space, kind, aim=None, per_label=True):
    """Returns decisions that are fitted to drawn answers."""
    rng = np.random.default_rng(0)
    target = (rng.random((3000, len(space.labels))) < 0.4).astype(np.int8)
    for group, columns in zip(space.groups, space.columns, strict=True):
        chosen = rng.integers(0, len(columns) + group.none, len(target))
        target[:, columns] = chosen[:, None] == np.arange(len(columns))
    logits = (rng.normal(0, 2, target.shape) + 2 * target - 1).astype(np.float32)
    target[:, 4] = 0 if not space.groups else target[:, 4]  # nothing to calibrate it by
    matrices = LogitsAndTarget(torch.from_numpy(logits), torch.from_numpy(target))
    return fit_decisions(matrices, space, aim or MicroF1(), per_label=per_label, calibration=kind)


def list_borders(decisions):
    """Returns logits (N, C) at every cut and every step, and the float32 next to them on both sides."""
    rows = []
    steps = [getattr(each, "logits", np.zeros(0)) for each in decisions.calibration.maps]
    cuts = np.nan_to_num(decisions.cuts.numpy())
    for number in range(max(1, *map(len, steps))):
        edge = [each[min(number, len(each) - 1)] if len(each) else 0 for each in steps]
        for value in (np.array(edge, np.float32), cuts):
            rows += [value, np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf))]
    return np.array(rows)


def answer(decisions, logits):
    """Returns probabilities and decisions of the part of a graph."""
    shape = ("batch", logits.shape[1])
    outputs = [describe("probability", np.float32, *shape), describe("decision", np.bool_, *shape)]
    model = join([create_answers(decisions)], [describe("logits", np.float32, *shape)], outputs, like=EMPTY)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"logits": logits})


@pytest.mark.parametrize(("kind", "space"), [*product(("platt", "beta", "isotonic", "none"), ("independent", "groups"))]
                         + [("platt", "single_label"), ("none", "single_label")])  # fmt: skip
def test_answers_are_those_of_the_decisions(kind, space):
    decisions = fit(SPACES[space], kind)
    rng = np.random.default_rng(1)
    logits = np.concatenate([
        rng.normal(0, 3, (4000, len(LABELS))), rng.normal(0, 40, (200, len(LABELS))),
        rng.integers(-1, 2, (500, len(LABELS))),  # ties inside of groups, and with none
        list_borders(decisions),
    ]).astype(np.float32)  # fmt: skip
    probability, decision = answer(decisions, logits)
    assert (decision == decisions.decide(torch.from_numpy(logits)).numpy()).all()
    expected = decisions.probability(torch.from_numpy(logits)).numpy()
    assert np.abs(probability - expected).max() < 2e-6
    for columns, group in zip(decisions.space.columns, decisions.space.groups, strict=True):
        if not group.none:
            assert probability[:, columns].sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_rare_labels_keep_the_order_of_their_logits():
    decisions = Decisions.by_threshold(LabelSpace(("cat", "dog")), 0.5)
    logits = np.linspace(-80, 80, 400_000, dtype=np.float32).reshape(-1, 2)
    probability = answer(decisions, logits)[0]
    assert (np.diff(probability.flatten()) >= 0).all()  # onnxruntime's Sigmoid: thousands of steps down
    assert probability == pytest.approx(1 / (1 + np.exp(-logits.astype(np.float64))), rel=1e-6, abs=0)


def test_the_threshold_of_a_run_without_decisions_decides(tmp_path):
    decisions = Decisions.by_threshold(LabelSpace(("cat", "dog"), activation="tanh"), [0.2, -0.1])
    part = create_answers(decisions)
    outputs = [describe(name, dtype, "batch", 2) for name, dtype in (("probability", "f4"), ("decision", "?"))]
    model = join([part], [describe("logits", np.float32, "batch", 2)], outputs, like=EMPTY)
    logits = np.random.default_rng(0).normal(0, 0.3, (500, 2)).astype(np.float32)
    probability, decision = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"logits": logits})
    assert (decision == (np.tanh(logits) > [0.2, -0.1])).all()
    assert np.abs(probability - 1 / (1 + np.exp(-logits))).max() < 1e-6


@cache
def trace_head(head):
    """Returns a small model with a head, of drawn weights, and what it is as ONNX."""
    torch.manual_seed(0)
    with unfused_attention():
        model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=32, num_heads=2)
        install_head(model, HEADS[head], len(LABELS))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    return model, trace(model, (3, 32, 32))


@pytest.fixture(params=HEADS)
def traced(request):
    return trace_head(request.param)


@pytest.fixture
def linear():
    return trace_head("linear")


def save(model, path, kind="image", precision="float32"):
    """Writes a model with the metadata that OnnxModel needs, and opens it."""
    known = {"input": kind, "precision": precision, "preprocessing": json.dumps(PREPROCESSING)}
    onnx.helper.set_model_props(model, known)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
    return OnnxModel(path, num_threads=1)


def compute(model, pixels):
    """Returns the logits of pixels as evaluation computes them."""
    mean, std = (255 * torch.tensor(PREPROCESSING[name]).view(-1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return model(pixels.float().sub_(mean).mul_(1 / std))


def test_every_head_gives_the_same_logits_at_every_batch_size_in_every_space(traced, tmp_path):
    model, proto = traced
    pixels = torch.randint(0, 256, (17, 3, 32, 32), dtype=torch.uint8)
    expected = compute(model, pixels)
    assert expected.std() > 0.05
    for space, kind in product(SPACES.values(), ("image", "pixels")):
        decisions = fit(space, "platt")
        exported = save(build(proto, decisions, PREPROCESSING, kind), tmp_path / "model.onnx", kind)
        differences = check_logits(exported, pixels, expected, bound=2e-5)
        assert list(differences) == [1, 2, 3, 17]
        assert check_answers(exported.answer(exported.feed(pixels)), decisions) < 2e-6
    shapes = [each.shape for each in exported.session.get_outputs()]
    assert shapes == [["batch", len(LABELS)]] * 3
    assert [each.name for each in exported.session.get_outputs()] == list(OUTPUTS)


def test_every_head_in_float16_is_half_the_size_and_close(traced, tmp_path):
    model, proto = traced
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    exported = save(build(to_float16(copy), fit(SPACES["groups"], "beta"), PREPROCESSING, "image"), tmp_path / "h.onnx")
    expected = compute(model, pixels)
    check_logits(exported, pixels, expected, bound=0.01 * max(1, expected.abs().max().item()))
    names = {node.op_type for node in onnx.load(tmp_path / "h.onnx").graph.node}
    assert "MatMul" in names or "Gemm" in names
    assert any(each.data_type == onnx.TensorProto.FLOAT16 for each in onnx.load(tmp_path / "h.onnx").graph.initializer)


def test_attention_is_fused_again_after_an_export():
    before = use_fused_attn()
    with unfused_attention():
        assert not use_fused_attn()
    assert use_fused_attn() == before


@pytest.mark.parametrize(("crop_mode", "interpolation"), [*product(("center", "squash"), ("bicubic", "bilinear"))])
def test_photos_are_resized_in_the_graph_to_two_grey_levels(crop_mode, interpolation):
    settings = {**PREPROCESSING, "input_size": (3, 64, 64), "crop_mode": crop_mode, "interpolation": interpolation}
    settings |= {"mean": (0, 0, 0), "std": (1 / 255,) * 3}  # so that the image is its grey levels
    outputs = [describe("image", np.float32, "batch", 3, 64, 64)]
    model = join(
        [create_preprocessing(settings)], [describe("pixels", np.uint8, "batch", "height", "width", 3)], outputs, EMPTY
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    transform = use_tensor_resize(create_transform(**settings, use_prefetcher=True))
    rng = np.random.default_rng(0)
    shares = []
    for height, width in [(375, 500), (500, 375), (70, 71), (40, 33), (64, 64), (3, 400), (301, 2)]:
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        got = session.run(None, {"pixels": np.stack([photo, photo[::-1]])})[0]
        for image, source in zip(got, (photo, photo[::-1].copy()), strict=True):
            differences = np.abs(image - np.asarray(transform(Image.fromarray(source))))
            assert differences.max() <= 2.01
            shares.append((differences > 0.5).mean())
    assert np.mean(shares) < 0.02


def test_a_crop_that_onnx_does_not_know_is_refused():
    with pytest.raises(InputError, match="input=pixels"):
        create_preprocessing({**PREPROCESSING, "crop_mode": "border"})


def export(call_script, *arguments):
    """Returns what the script prints; it must succeed."""
    result = call_script("scripts/export_onnx.py", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_the_script_writes_a_file_that_belongs_to_its_run(train, call_script, tmp_path):
    train("name=a", "decisions=micro_f1")
    printed = export(call_script, f"run={tmp_path}/a", "num_images=5")
    run, trained, labels = load_run(str(tmp_path / "a"), changes={})
    model = OnnxModel.of_run(run, num_threads=1)
    assert "logits differ by at most" in printed
    assert len(printed.splitlines()) < 8
    assert json.loads(model.metadata["labels"]) == list(labels)
    decisions = settle_decisions(run, trained, LabelSpace(labels))
    assert json.loads(model.metadata["thresholds"]) == decisions.thresholds()
    assert json.loads(model.metadata["decisions"])["sha256"] == decisions.sha256
    assert json.loads(model.metadata["preprocessing"])["input_size"] == [3, 36, 36]
    assert b"site-packages" not in model.path.read_bytes()  # no paths of this machine
    pixels = torch.randint(0, 256, (3, 3, 36, 36), dtype=torch.uint8)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8))
    answers = []
    for backend in ("torch", "onnx"):
        with open_predictor(run, trained, labels, backend) as predictor:
            assert predictor.decisions.sha256 == decisions.sha256
            answers.append((predictor.prepare(picture), predictor.min_side, predictor.logits(pixels)))
    (pixels_by_torch, side_by_torch, by_torch), (pixels_by_onnx, side_by_onnx, by_onnx) = answers
    assert (pixels_by_torch == pixels_by_onnx).all()
    assert side_by_torch == side_by_onnx
    assert torch.allclose(by_torch, by_onnx, atol=2e-5)
    (run.best / "seal.json").unlink()  # which keeps the hash
    (run.best / "config.json").write_text((run.best / "config.json").read_text() + "\n")
    with pytest.raises(InputError, match="another model"):
        OnnxModel.of_run(run)


def test_a_file_that_differs_is_not_left(linear, tmp_path):
    model, proto = linear
    decisions = fit(SPACES["groups"], "platt")
    exported = build(proto, decisions, PREPROCESSING, "image")
    add_metadata(exported, describe_model(decisions, PREPROCESSING, "image", "float32", "vit", "abc"))
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    sample, place = Sample([], pixels), Place(tmp_path / "onnx", ONNX_MODEL)

    def fill(logits, folder):
        write_checked(exported, place, folder, sample, logits, decisions, max_batch_size=1)

    publish(place.folder, ONNX_MODEL, partial(fill, compute(model, pixels)))
    before = (tmp_path / "onnx/model.onnx").read_bytes()
    with pytest.raises(InputError, match=r"differs by 0\.1 in a logit"):
        publish(place.folder, ONNX_MODEL, partial(fill, compute(model, pixels) + 0.1))
    assert [each.name for each in tmp_path.iterdir()] == ["onnx"]
    assert (tmp_path / "onnx/model.onnx").read_bytes() == before


def read_pbtxt(text):
    """Returns a text protobuf as dicts; a list of each field."""
    tokens = re.findall(r'"(?:\\.|[^"\\])*"|[\w.-]+|[{}\[\]:,]', re.sub(r"^#.*$", "", text, flags=re.MULTILINE))

    def message():
        found = {}
        while tokens and tokens[0] != "}":
            name = tokens.pop(0)
            if tokens[0] == ":":
                tokens.pop(0)
            found.setdefault(name, []).extend(values())
        return found

    def values():
        if tokens[0] != "[":
            return [value()]
        tokens.pop(0)
        found = []
        while tokens[0] != "]":
            found.append(value())
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return found

    def value():
        token = tokens.pop(0)
        if token == "{":
            inside = message()
            assert tokens.pop(0) == "}"
            return inside
        return json.loads(token) if token.startswith('"') else int(token) if token.lstrip("-").isdigit() else token

    return message()


def test_triton_finds_what_its_config_names(linear, tmp_path):
    model, proto = linear
    decisions, folder = fit(SPACES["groups"], "platt"), tmp_path / "a"
    exported = build(proto, decisions, PREPROCESSING, "pixels")
    add_metadata(exported, describe_model(decisions, PREPROCESSING, "pixels", "float32", "vit", "abc"))
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    folder.mkdir()
    write_checked(
        exported, Place(folder, TRITON_MODEL), folder, Sample([], pixels), compute(model, pixels), decisions,
        max_batch_size=4,
    )  # fmt: skip
    config = read_pbtxt((folder / "config.pbtxt").read_text())
    assert (config["name"], config["platform"], config["max_batch_size"]) == (["a"], ["onnxruntime_onnx"], [4])
    assert "max_queue_delay_microseconds" in config["dynamic_batching"][0]
    session = onnxruntime.InferenceSession(folder / "1/model.onnx")
    [source] = config["input"]
    assert source["data_type"] == ["TYPE_UINT8"]
    answers = session.run(
        [name for each in config["output"] for name in each["name"]],
        {source["name"][0]: pixels.permute(0, 2, 3, 1).numpy()},
    )
    assert source["dims"] == [32, 32, 3]
    assert np.abs(answers[0] - compute(model, pixels).numpy()).max() < 2e-5
    kinds = {"TYPE_FP32": np.float32, "TYPE_BOOL": np.bool_}
    for each, answer in zip(config["output"], answers, strict=True):
        assert answer.dtype == kinds[each["data_type"][0]]
        assert answer.shape == (4, *each["dims"])
    labels = (folder / config["output"][1]["label_filename"][0]).read_text().splitlines()
    assert labels == list(LABELS)


def test_a_folder_of_somebody_else_is_not_replaced(train, call_script, tmp_path):
    train("name=a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model.onnx").write_bytes(b"of another program")
    result = call_script("scripts/export_onnx.py", f"run={tmp_path}/a", f"out={tmp_path}/mine")
    assert (result.returncode, "would be replaced" in result.stderr) == (1, True)
    assert (tmp_path / "mine/model.onnx").read_bytes() == b"of another program"


def test_bfloat16_is_refused_with_a_word(train, call_script, tmp_path):
    train("name=a")
    result = call_script("scripts/export_onnx.py", f"run={tmp_path}/a", "precision=bf16")
    assert (result.returncode, "float16" in result.stderr) == (1, True)


def test_a_file_that_is_damaged_or_of_another_program_is_named(tmp_path):
    for content, words in ((b"multihot", "cannot compute"), (EMPTY_FILE, "no file that scripts/export_onnx.py")):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(InputError, match=words):
            OnnxModel(tmp_path / "model.onnx")
    with pytest.raises(InputError, match="not there"):
        OnnxModel(tmp_path / "other.onnx")


def test_a_graph_that_lost_an_output_is_noticed(linear):
    _, proto = linear
    assert is_whole(proto.graph)
    broken = onnx.GraphProto.FromString(proto.graph.SerializeToString())
    del broken.node[1]
    assert not is_whole(broken)


def test_weights_of_a_large_model_are_a_file_beside_it(linear, tmp_path, monkeypatch):
    _, proto = linear
    monkeypatch.setattr(onnx_file, "ONE_FILE", 1000)
    path = onnx_file.write_model(build(proto, fit(SPACES["groups"], "platt"), PREPROCESSING, "image"), tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    onnxruntime.InferenceSession(path)


def test_openvino_is_told_what_one_threshold_can_say():
    space = SPACES["independent"]
    info = describe_for_openvino(fit(space, "none", per_label=False), PREPROCESSING, "image")
    assert info["model_info labels"].split() == ["red", "big", "cat", "green", "dog", "small", "two_words"]
    assert info["model_info multilabel"] == "True"
    decisions = fit(space, "none", per_label=False)
    assert float(info["model_info confidence_threshold"]) == pytest.approx(decisions.common, abs=1e-6)
    single = describe_for_openvino(fit(SPACES["single_label"], "none"), PREPROCESSING, "image")
    assert single["model_info multilabel"] == "False"
    assert describe_for_openvino(fit(SPACES["groups"], "none"), PREPROCESSING, "image") == {}
    assert describe_for_openvino(fit(space, "platt", aim=MacroF1()), PREPROCESSING, "image") == {}
