"""compile=true: training steps are compiled; scores, checkpoints and best/ are those of the model itself."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from multihot.training import compiling
from multihot.training.compiling import choose_compile

SETTINGS = (
    "compile=true",
    "mixed_precision=bf16",
    "epochs=2",
    "data.num_images={train:20,val:10,test:5}",  # batches of 8, 8 and 4: two shapes
    "model.kwargs.depth=1",
    "+model.kwargs.proj_drop_rate=0.1",
    "ema.decay=0.5",
    "checkpoint.keep=3",
)


@pytest.fixture
def compiled_shapes(monkeypatch):
    """Returns the list to which each compiled call of a model adds the shape of its images."""
    shapes, backend = [], torch._dynamo.lookup_backend("inductor")

    def note(graph, inputs):
        compiled = backend(graph, inputs)

        def run(*arguments):
            shapes.extend(tuple(value.shape) for value in arguments if getattr(value, "ndim", 0) == 4)
            return compiled(*arguments)

        return run

    plain = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **settings: plain(self, backend=note, **settings))
    return shapes


def test_a_compiled_run_resumes_to_the_same_weights_and_evaluates_to_the_same_scores(
    train, evaluate, tmp_path, compiled_shapes
):
    train("name=whole", *SETTINGS)
    batches = {shape[0] for shape in compiled_shapes if shape[1:] == (3, 36, 36)}
    assert batches == {8, 4}  # and not 2, which validation alone has

    broken = shutil.copytree(tmp_path / "whole", tmp_path / "broken")  # as a kill in the second epoch leaves it
    shutil.rmtree(broken / "last")
    (broken / "finished.json").unlink()
    torch.compiler.reset()
    train("name=broken", *SETTINGS)
    weights = [load_file(tmp_path / name / "last/model.safetensors") for name in ("whole", "broken")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not any("_orig_mod" in key for key in weights[0])

    history = json.loads((broken / "history.json").read_text())
    assert history == json.loads((tmp_path / "whole/history.json").read_text())
    evaluate(f"run={broken}", "split=val", "predict=again")
    best = max(row["val/map"] for row in history)
    assert json.loads((broken / "val/metrics.json").read_text())["map"] == best


def test_steps_are_compiled_by_themselves_on_cuda_alone_where_triton_finds_what_it_needs(monkeypatch, caplog):
    def chosen(device="cuda", kind=DistributedType.MULTI_GPU, wanted="auto"):
        return choose_compile(wanted, SimpleNamespace(device=torch.device(device), distributed_type=kind))

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    for name in ("find_spec", "shutil.which", "os.path.exists"):
        monkeypatch.setattr(f"multihot.training.compiling.{name}", lambda *_: "there")
    assert chosen()
    assert not chosen("cpu")
    assert chosen("cpu", wanted=True)
    assert not chosen(wanted=False)
    assert not chosen(kind=DistributedType.FSDP)
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    with caplog.at_level("INFO", "multihot"):
        assert not chosen()
    assert caplog.messages == ["training steps are not compiled, which needs the package triton"]


@pytest.mark.parametrize("head", ["csra", "two_logit"])
def test_the_factors_of_many_labels_leave_a_compiled_model_as_they_leave_it_otherwise(
    train, tmp_path, monkeypatch, head
):
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compile_module(self, backend="eager"))
    monkeypatch.setattr("multihot.training.build.MANY_LABELS", 10)
    settings = (f"head={head}", "data.num_images={train:16,val:8,test:5}", "model.kwargs.depth=1", "mix.mixup=0.4")
    for name, wanted in (("plain", "false"), ("compiled", "true")):
        train(f"name={name}", f"compile={wanted}", *settings)
    plain, compiled = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("plain", "compiled"))
    assert compiled[1] == pytest.approx(plain[1], rel=1e-5)
