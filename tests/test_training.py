from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from scipy.sparse import csr_array
from timm.data import create_transform
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn

from multihot.data.loader import create_evaluation_batches, create_training_batches
from multihot.data.manifest import Manifest, target_of
from multihot.data.mixup import MultiLabelMixup
from multihot.data.readers.digits import LABELS, create_digits
from multihot.data.sampling import TrainingOrder
from multihot.errors import InputError
from multihot.evaluation.predict import check_each_once, predict
from multihot.evaluation.predictions import Predictions
from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss
from multihot.model.heads import CSRA, TwoLogit, factor_head, install_head
from multihot.run.checkpoint import Checkpoints, TrainingState
from multihot.training.epoch import Trainer, train_one_epoch
from multihot.training.ledger import Ledger
from multihot.training.schedule import create_schedule

PREPROCESSING = {"input_size": (3, 36, 36), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0}
NUM_IMAGES = 22
MIXUP = MultiLabelMixup(0.4, 1.0)
WITH_CSRA = partial(CSRA, num_heads=2, attention_weight=0.2)


@pytest.fixture
def manifest():
    settings = {"max_digits": 3, "num_clutter": 2, "single_label": False, "hidden_fraction": 0.0, "seed": 0}
    return create_digits("train", num_images={"train": NUM_IMAGES}, **settings)


def create_trainer(ema_decay=None, lr=0.1, loss=None, chunked_head=None, **changes):
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=36, patch_size=12, embed_dim=24, depth=2, num_heads=2, num_classes=10
    )
    if chunked_head is not None:
        install_head(model, partial(chunked_head), 10)
        factor_head(model)
    ema = ModelEmaV3(model, decay=ema_decay) if ema_decay else None
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=lr))
    schedule = create_schedule(optimizer, partial(CosineLRScheduler, lr_min=lr), 10, warmup_fraction=0.0)
    settings = {"mix": None, "seed": 0, "accumulate_steps": 1, "clip_norm": None, "log_every": 10, **changes}
    loss = loss or MultiLabelLoss(BinaryCrossEntropy(), LabelSpace(LABELS))
    state = TrainingState()
    checkpoints = Checkpoints(accelerator, optimizer, Path("last"), state, 8, keep=1, every_minutes=None)
    return Trainer(
        accelerator=accelerator, model=model, loss=loss, optimizer=optimizer, schedule=schedule, ema=ema, state=state,
        checkpoints=checkpoints, **settings,
    )  # fmt: skip


def train_epoch(trainer, batches):
    """One epoch as train.py makes it, without the measurement."""
    loss = train_one_epoch(trainer, batches)
    trainer.state.finish_epoch()
    return loss


def batches_of(manifest, batch_size, **settings):
    return create_training_batches(
        manifest, create_transform, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING,
        order=TrainingOrder(len(manifest), batch_size, seed=0), num_workers=0, seed=0, **settings,
    )  # fmt: skip


def weights_of(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize(("batch_size", "accumulate_steps"), [(4, 2), (2, 4), (1, 8)])
def test_accumulated_small_batches_make_the_updates_of_large_ones(manifest, batch_size, accumulate_steps):
    # 22 images in updates of 8: the last has 6, in batches of 4 + 2, 2 + 2 + 2 or 6 x 1
    large, small = create_trainer(), create_trainer(accumulate_steps=accumulate_steps)
    loss = train_epoch(large, batches_of(manifest, 8))
    assert train_epoch(small, batches_of(manifest, batch_size)) == pytest.approx(loss, rel=1e-4)
    assert large.state.update == small.state.update == 3
    torch.testing.assert_close(weights_of(small), weights_of(large), atol=1e-5, rtol=1e-4)


def test_the_train_loss_is_the_mean_over_images_not_over_batches(manifest):
    trainer = create_trainer(lr=1e-12)  # the weights stay, so the loss of all images at once is the mean
    batches = batches_of(manifest, 8)
    loss = train_epoch(trainer, batches)
    [everything] = batches_of(manifest, NUM_IMAGES)
    expected = trainer.loss(trainer.model(everything["image"]), everything["target"]).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_clipped_to_its_norm(manifest):
    free, clipped = create_trainer(lr=1.0), create_trainer(lr=1.0, clip_norm=0.01)
    before = weights_of(free).clone()
    for trainer in (free, clipped):
        train_epoch(trainer, batches_of(manifest, NUM_IMAGES))
    assert (weights_of(free) - before).norm() > 0.02
    assert (weights_of(clipped) - before).norm() == pytest.approx(0.01, rel=1e-3)


def test_the_ema_follows_the_weights_by_its_decay(manifest):
    trainer = create_trainer(ema_decay=0.9)
    start = weights_of(trainer).clone()
    train_epoch(trainer, batches_of(manifest, NUM_IMAGES))
    first = weights_of(trainer).clone()
    train_epoch(trainer, batches_of(manifest, NUM_IMAGES))
    average = torch.cat([parameter.flatten() for parameter in trainer.ema.module.parameters()])
    # timm's EMA takes the weights as they are after the first update, and averages from then on
    torch.testing.assert_close(average, 0.9 * first + 0.1 * weights_of(trainer))
    assert not torch.equal(first, start)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_what_to_try(manifest, value):
    class Breaks(nn.Module):
        calls, reduction = 0, "mean"

        def forward(self, logits, target, weight):
            self.calls += 1
            return logits.sum() * (value if self.calls == 3 else 1.0)

    trainer = create_trainer(loss=Breaks(), lr=1e-9)
    with pytest.raises(InputError, match=r"at update 3 \(epoch 1\).*optimizer.lr"):
        train_epoch(trainer, batches_of(manifest, 4))
    assert torch.isfinite(weights_of(trainer)).all()


def with_fused_adamw(trainer):
    trainer.optimizer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-3, fused=True)
    return trainer


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_no_update_from_one_that_is_not_finite_on_reaches_the_weights(manifest, clip_norm, monkeypatch):
    class Breaks(MultiLabelLoss):
        breaks_at, calls = 0, 0

        def forward(self, *batch):
            self.calls += 1
            return super().forward(*batch) * (float("nan") if self.calls == self.breaks_at else 1.0)

    def epoch_of(breaks_at):
        loss = Breaks(BinaryCrossEntropy(), LabelSpace(LABELS))
        loss.breaks_at = breaks_at
        trainer, seen = with_fused_adamw(create_trainer(loss=loss, clip_norm=clip_norm)), []
        monkeypatch.setattr(Checkpoints, "after_update", lambda self, settle: seen.append(weights_of(trainer).clone()))
        with (
            pytest.raises(InputError, match=r"the loss is nan at update 3 \(epoch 1\)") if breaks_at else nullcontext()
        ):
            train_epoch(trainer, batches_of(manifest, 4))
        return seen

    whole, broken = epoch_of(breaks_at=0), epoch_of(breaks_at=3)
    assert len(broken) == 6  # nobody has asked before the end of the epoch
    assert torch.equal(broken[1], whole[1])
    assert all(torch.equal(weights, broken[1]) for weights in broken[1:])


@pytest.mark.parametrize(("head", "mix"), [(None, None), (None, MIXUP), (TwoLogit, MIXUP), (WITH_CSRA, None)])
def test_nothing_waits_for_the_device_between_two_looks(manifest, monkeypatch, head, mix):
    """On the device "meta" asking for a value is an error."""

    class EndError(Exception):
        pass

    class Fused(torch.optim.Optimizer):
        _step_supports_amp_scaling = True

        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1})

        def step(self, closure=None):
            assert self.found_inf.device.type == "meta"
            for parameter in self.param_groups[0]["params"]:
                parameter.data.sub_(parameter.grad * self.param_groups[0]["lr"] * (1 - self.found_inf))

    def after_update(self, settle):
        if self.state.update == 5:
            raise EndError

    monkeypatch.setattr(Accelerator, "device", property(lambda self: torch.device("meta")))
    monkeypatch.setattr(Checkpoints, "after_update", after_update)
    trainer = create_trainer(ema_decay=0.9, clip_norm=1.0, mix=mix, chunked_head=head)
    trainer.optimizer.optimizer = Fused(trainer.model.parameters())
    trainer.ema.module.to("meta")
    batches = batches_of(manifest.hide(0.2, seed=0), 4, sparse_target=head is not None)
    with pytest.raises(EndError):
        train_epoch(trainer, batches)
    assert trainer.state.update == 5
    with pytest.raises(NotImplementedError, match="meta"):
        Ledger(torch.device("meta")).read()


def test_processes_agree_at_most_every_20_updates_and_every_few_seconds(tmp_path, monkeypatch):
    def agreements(seconds, first=1):
        clock, calls = [0.0], []
        monkeypatch.setattr("multihot.run.checkpoint.time.monotonic", lambda: clock[0])
        state = TrainingState()
        accelerator = SimpleNamespace(num_processes=2, device="cpu")
        checkpoints = Checkpoints(accelerator, None, tmp_path, state, 8, keep=1, every_minutes=None, agreed_at=0.0)
        monkeypatch.setattr(Checkpoints, "agree", lambda self, *told: calls.append(state.update) or told)
        for state.update in range(first, first + 61):
            clock[0] += seconds
            checkpoints.after_update(lambda: None)
        return calls

    assert agreements(0.01) == [1, 21, 41, 61]
    assert agreements(1.0)[:4] == [1, 6, 11, 16]
    assert agreements(30.0) == list(range(1, 62))
    assert agreements(30.0, first=1001) == list(range(1001, 1062))  # of a run that goes on


def test_unknown_labels_do_not_touch_the_training(manifest):
    targets = manifest.targets.toarray()
    targets[:, 4] = -1
    unknown = Manifest(manifest.labels, manifest.images, csr_array(targets), manifest.read)
    trainer = create_trainer()
    before = trainer.model.head.weight.detach().clone()
    train_epoch(trainer, batches_of(unknown, NUM_IMAGES))
    moved = (trainer.model.head.weight.detach() != before).any(dim=1)
    assert moved.tolist() == [label != 4 for label in range(10)]


def test_an_unreadable_image_stops_the_training_with_its_name(manifest, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    broken = Manifest(manifest.labels, [str(tmp_path / "broken.jpg")] * NUM_IMAGES, manifest.targets)
    with pytest.raises(InputError, match=r"broken\.jpg"):
        train_epoch(create_trainer(), batches_of(broken, 4))


@pytest.mark.parametrize("batch_size", [1, 5, NUM_IMAGES, 100])
def test_predict_gives_each_image_its_own_logits_in_the_order_of_the_manifest(manifest, batch_size, tmp_path):
    trainer = create_trainer()
    batches = create_evaluation_batches(
        manifest, accelerator=trainer.accelerator, preprocessing=PREPROCESSING, batch_size=batch_size, num_workers=0
    )
    predict(trainer.accelerator, trainer.model, batches, tmp_path, "test", way_out="")
    predictions = Predictions.load(tmp_path)
    logits = predictions.logits
    assert predictions.images == list(manifest.images)
    assert torch.equal(predictions.target, target_of(manifest))
    assert logits.dtype == torch.float32
    assert logits.shape == (NUM_IMAGES, 10)
    transform = create_transform(**PREPROCESSING)
    for row in (0, 7, NUM_IMAGES - 1):
        image = transform(manifest.read(manifest.images[row]))[None]
        torch.testing.assert_close(logits[row], trainer.model(image)[0].detach(), atol=1e-4, rtol=1e-4)


def test_an_image_that_is_predicted_twice_or_never_is_noticed():
    check_each_once(torch.tensor([1, 1, 1]))
    for counts in ([1, 2, 1], [1, 0, 1]):
        with pytest.raises(AssertionError, match="exactly once"):
            check_each_once(torch.tensor(counts))


def test_single_label_scores_equal_sklearn():
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

    from multihot.metrics.single_label import evaluate_single_label

    rng = np.random.default_rng(0)
    true, logits = rng.integers(4, size=50), rng.normal(size=(50, 4)).astype(np.float32)
    logits[np.arange(50), true] += 0.7
    evaluation = evaluate_single_label(torch.from_numpy(logits), torch.eye(4)[true], ["a", "b", "c", "d"])
    predicted = logits.argmax(axis=1)
    assert evaluation.scores["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert evaluation.scores["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    expected = precision_recall_fscore_support(true, predicted)
    table = [[row[name] for row in evaluation.table] for name in ("precision", "recall", "f1", "support")]
    np.testing.assert_allclose(table, expected, atol=1e-6)


def test_an_epoch_that_was_done_before_a_stop_has_the_loss_of_all_its_images(manifest):
    trainer = create_trainer()
    # by fewer processes, whose last batch of one image would be too small for these
    trainer.state.load_state_dict(asdict(TrainingState(batch=6, num_images=21, loss_sums=[4.0, 6.5])))
    trainer.state.share_loss_sums(process_index=0, num_processes=1)
    assert train_one_epoch(trainer, batches_of(manifest, 5)) == 0.5
