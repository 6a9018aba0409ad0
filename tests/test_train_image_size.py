import pytest
import timm
import torch
from conftest import SMALL_DIGITS

from multihot.errors import InputError
from multihot.model.create import create_model

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def create(train_image_size, *, name="vit_tiny_patch16_224", kwargs=TINY):
    torch.manual_seed(0)
    return create_model(
        name, num_labels=5, pretrained=False, weights=None, image_size=48, kwargs=kwargs,
        train_image_size=train_image_size,
    ).eval()  # fmt: skip


def test_a_model_of_two_sizes_gives_the_logits_of_one_and_takes_the_other_too():
    one, two = create(None), create(32)
    two.load_state_dict(one.state_dict())
    image = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(two(image), one(image), rtol=0, atol=0)
    assert two(image[..., :32, :32]).shape == (2, 5)


def test_positions_of_a_small_crop_are_those_of_the_model_resampled():
    model = create(32)
    with torch.no_grad():  # positions that rise evenly from left to right, and patches that say nothing
        model.patch_embed.proj.weight.zero_()
        model.pos_embed[:, 1:] = torch.linspace(0, 1, 6).repeat(6)[None, :, None]
    embedded = model._pos_embed(model.patch_embed(torch.randn(1, 3, 32, 32)))
    columns = (embedded - model.patch_embed.proj.bias)[0, 1:, 0].view(4, 4)
    assert (columns.diff(dim=1) > 0.1).all()
    torch.testing.assert_close(columns.mean(), torch.tensor(0.5))


@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        (33, {}, r"train_image_size=33 is no multiple .* patches of 8 pixels.*: choose 32 or 40"),
        (
            32,
            {"name": "beit_base_patch16_224", "kwargs": {"depth": 1}},
            "takes images of one size only; set it to null",
        ),
    ],
)
def test_a_size_that_cannot_be_is_refused(size, changes, words):
    with pytest.raises(InputError, match=words):
        create(size, **changes)


def test_a_training_on_small_crops_is_measured_and_saved_at_the_size_of_the_model(train, tmp_path, monkeypatch):
    seen = []
    forward = timm.models.VisionTransformer.forward
    monkeypatch.setattr(
        timm.models.VisionTransformer, "forward",
        lambda self, image: seen.append((self.training, image.shape[-1])) or forward(self, image),
    )  # fmt: skip
    train("name=small", *SMALL_DIGITS, "augment=light", "model.train_image_size=24")
    assert {size for training, size in seen if training} == {24}
    assert {size for training, size in seen if not training} == {36}
    best = tmp_path / "small" / "best"
    model = timm.create_model(f"local-dir:{best}", pretrained=True)
    assert model.pretrained_cfg["input_size"] == (3, 36, 36)
    assert model(torch.zeros(1, 3, 36, 36)).shape == (1, 10)
