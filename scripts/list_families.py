"""Tries tiny models of all families of ViTs in timm with every head in every mode, and writes docs/families.md.

python scripts/list_families.py      about two minutes on two cores
"""

import functools
import logging
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process on each core

import numpy as np
import timm
import torch
from scipy.sparse import csr_array
from timm.data import resolve_input_data_config
from timm.models.mvitv2 import MultiScaleVitCfg
from torch import nn
from torch.utils import checkpoint

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.known_classes import create
from multihot.labels import LabelSpace
from multihot.model.architecture import head_keys
from multihot.model.create import create_model
from multihot.model.features import check_head_alone, pool, read_features
from multihot.model.finetune import LastBlocks, Lora, checkpoint_gradients, head_parameters, merge_lora
from multihot.model.heads import carry_rows, classifiers, install_head, start_at_log_odds
from multihot.model.probe import evaluating
from multihot.model.saved import load_model, save_model
from multihot.model.start import FreshHead
from multihot.training.optimizer import create_optimizer

PAGE = Path(__file__).resolve().parents[1] / "docs/families.md"
SPACE = LabelSpace(("cat", "dog", "owl"))
LOG_ODDS = torch.tensor([-1.0, 0.5, -2.0])
TARGETS = csr_array(np.int8([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]))
DATA = Manifest(SPACE.labels, ["a", "b", "c", "d"], TARGETS)
DECODER = {"decoder_width": 8, "num_heads": 2, "feedforward_width": 8, "dropout": 0.0}
HEADS = {  # as conf/head has them
    "linear": None,
    "two_logit": {"_target_": "multihot.model.heads.TwoLogit"},
    "csra": {"_target_": "multihot.model.heads.CSRA", "num_heads": 1, "attention_weight": 0.2},
    "ml_decoder": {"_target_": "multihot.model.heads.MLDecoder", "num_groups": 2, **DECODER},
    "query2label": {"_target_": "multihot.model.heads.Query2Label", "num_layers": 1, **DECODER},
}
NO_ROWS = ("ml_decoder", "query2label")  # nothing can be fitted to them, whatever the model

VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2}
OF_16, OF_14 = VIT | {"img_size": 32}, VIT | {"img_size": 28}  # four patches
SEEN_AT_128 = {"pretrained_cfg_overlay": {"input_size": (3, 128, 128)}}
STAGES = {"depths": (1,) * 4, "num_heads": (1,) * 4}
LEVIT = {"embed_dim": (16, 24, 32), "key_dim": 8, "num_heads": (2,) * 3, "depth": (1,) * 3}
TNT = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads_outer": 2, "inner_dim": 8, "num_heads_inner": 2}
VISFORMER = {"img_size": 64, "embed_dim": 48, "init_channels": 16, "depth": (1,) * 3, "num_heads": 2}
PIT = {"img_size": 32, "base_dims": (8,) * 3, "depth": (1,) * 3, "heads": (1, 2, 4)}
# a module of timm -> its models, each with the arguments that make it tiny
FAMILIES: dict[str, dict[str, Mapping]] = {
    "vision_transformer": {
        "vit_tiny_patch16_224": OF_16,
        "vit_small_patch14_reg4_dinov2": OF_14,
        "vit_base_patch14_reg1_tipsv2": OF_14,
        "vit_base_patch16_clip_224": OF_16,
        "vit_base_patch16_siglip_224": OF_16,
        "vit_base_patch16_siglip_gap_224": OF_16,
        "vit_so150m_patch16_reg4_map_256": OF_16,
        "vit_medium_patch16_reg4_gap_256": OF_16,
        "vit_small_patch16_18x2_224": OF_16,
        "vit_pwee_patch16_reg1_gap_256": OF_16,
        "vit_dwee_patch16_reg1_gap_256": OF_16,
        "vit_dpwee_patch16_reg1_gap_256": OF_16,
        "vit_intern300m_patch14_448": OF_14,
        "vit_base_patch16_radio_v3": OF_16,
        "vit_base_patch16_rpn_224": OF_16,
        "vit_base_patch16_xp_224": OF_16,
        "flexivit_small": OF_16,
        "aimv2_large_patch14_224": OF_14,
        "beit3_base_patch16_224": OF_16,
        "eva_large_patch14_196": OF_14,
    },
    "vision_transformer_hybrid": {
        "vit_tiny_r_s16_p8_224": OF_16,
        "vit_base_mci_224": {"img_size": 32, "depth": 1},
    },
    "vision_transformer_relpos": {
        "vit_relpos_small_patch16_224": OF_16,
        "vit_relpos_base_patch16_clsgap_224": OF_16,
        "vit_srelpos_small_patch16_224": OF_16,
    },
    "vision_transformer_sam": {"samvit_base_patch16_224": OF_16 | {"neck_chans": 16}},
    "deit": {"deit_tiny_distilled_patch16_224": OF_16, "deit3_small_patch16_224": OF_16},
    "beit": {"beit_base_patch16_224": OF_16, "beitv2_base_patch16_224": OF_16},
    "eva": {
        "eva02_tiny_patch14_224": OF_14,
        "eva02_base_patch16_clip_224": OF_16,
        "vit_small_patch16_dinov3": OF_16,
        "vit_small_patch16_dinov3_qkvb": OF_16,
        "vit_small_patch16_rope_224": OF_16,
        "vit_small_patch16_rope_mixed_224": OF_16,
        "vit_medium_patch16_rope_reg1_gap_256": OF_16,
        "vit_pe_core_tiny_patch16_384": OF_16,
        "vit_pe_lang_large_patch14_448": OF_14,
        "vit_pe_spatial_tiny_patch16_512": OF_16,
        "vit_base_patch16_sapiens2": OF_16 | {"num_kv_heads": 1},
        "vit_small_patch16_lingbot": OF_16,
    },
    "naflexvit": {
        "naflexvit_base_patch16_gap": OF_16,
        "naflexvit_base_patch16_map": OF_16,
        "naflexvit_base_patch16_parfac_gap": OF_16,
        "naflexvit_base_patch16_radio_v3": OF_16,
    },
    "deepseek_vit": {"deepseek_vit_412m": OF_14},
    "gemma4_vit": {"gemma4_vit_167m": VIT | {"img_size": 48}},
    "qwen3_vit": {"qwen3_vit_88m": OF_16},
    "cait": {"cait_xxs24_224": OF_16 | {"depth_token_only": 1}},
    "convit": {"convit_tiny": OF_16 | {"embed_dim": 12, "local_up_to_layer": 1}},
    "coat": {"coat_lite_tiny": {"img_size": 64}},
    "crossvit": {"crossvit_9_240": {"embed_dim": (16, 32), "depth": ((1, 1, 0),), "num_heads": (2, 2)}},
    "davit": {"davit_tiny": {**STAGES, "embed_dims": (16,) * 4}},
    "efficientformer": {"efficientformer_l1": {"depths": (1,) * 4, "embed_dims": (16,) * 4}},
    "efficientformer_v2": {"efficientformerv2_s0": {"depths": (1,) * 4, "embed_dims": (16,) * 4}},
    "efficientvit_mit": {"efficientvit_b0": SEEN_AT_128},
    "efficientvit_msra": {"efficientvit_m0": {}},
    "fastvit": {"fastvit_t8": {"layers": (1,) * 4, "embed_dims": (8, 16, 16, 16)}},
    "gcvit": {"gcvit_xxtiny": {}},
    "hiera": {"hiera_tiny_224": {"embed_dim": 16}},
    "hieradet_sam2": {"sam2_hiera_tiny": {"embed_dim": 16, **SEEN_AT_128}},
    "levit": {"levit_128s": LEVIT, "levit_conv_128s": LEVIT, "levit_384_s8": LEVIT},
    "maxxvit": {"test_maxvit": {}},
    "mobilevit": {"mobilevit_xxs": SEEN_AT_128, "mobilevitv2_050": SEEN_AT_128},
    "mvitv2": {"mvitv2_tiny": {"img_size": 64}, "mvitv2_small_cls": {"img_size": 64}},
    "nest": {"nest_tiny_jx": {}},
    "nextvit": {"nextvit_small": {}},
    "pit": {"pit_ti_224": PIT, "pit_ti_distilled_224": PIT},
    "pvt_v2": {"pvt_v2_b0": {**STAGES, "embed_dims": (8, 16, 16, 16)}},
    "repvit": {"repvit_m0_9": {"embed_dim": (16,) * 4, "depth": (1,) * 4}},
    "shvit": {"shvit_s1": {"depth": (1,) * 3, **SEEN_AT_128}},
    "swin_transformer": {"swin_tiny_patch4_window7_224": {**STAGES, "embed_dim": 12}},
    "swin_transformer_v2": {"swinv2_tiny_window8_256": {**STAGES, "embed_dim": 12}},
    "swin_transformer_v2_cr": {"swinv2_cr_tiny_224": {**STAGES, "embed_dim": 12}},
    "tiny_vit": {"tiny_vit_5m_224": {**STAGES, "embed_dims": (8, 16, 16, 16)}},
    "tnt": {"tnt_s_patch16_224": TNT},
    "twins": {"twins_pcpvt_small": {"img_size": 64}, "twins_svt_small": {"img_size": 64}},
    "visformer": {"visformer_tiny": VISFORMER},
    "vitamin": {"vitamin_small_224": {"img_size": 64, "depth": 1}},
    "volo": {"volo_d1_224": {"img_size": 32, "stem_hidden_dim": 16, "post_layers": ("ca",)}},
    "xcit": {"xcit_nano_12_p16_224": OF_16 | {"cls_attn_layers": 1}},
}  # fmt: skip
# what timm fixes in the function of a model, and no argument can change
FIXED = {
    "coat_lite_tiny": ("coat", "CoaT", {"embed_dims": (16,) * 4, "serial_depths": (1,) * 4, "num_heads": 8}),
    "gcvit_xxtiny": ("gcvit", "GlobalContextVit", {**STAGES, "depths": (2,) * 4, "embed_dim": 16}),
    "mvitv2_tiny": ("mvitv2", "MultiScaleVit", {"cfg": MultiScaleVitCfg((1, 1), 16)}),
    "mvitv2_small_cls": ("mvitv2", "MultiScaleVit", {"cfg": MultiScaleVitCfg((1, 1), 16, use_cls_token=True)}),
    "nest_tiny_jx": ("nest", "Nest", {"embed_dims": (8, 16, 16), "num_heads": (1,) * 3, "depths": (1,) * 3}),
    "nextvit_small": ("nextvit", "NextViT", {"stem_chs": (8, 8, 8), "depths": (1, 1, 5, 1)}),
    "twins_pcpvt_small": ("twins", "Twins", {**STAGES, "embed_dims": (16,) * 4}),
    "twins_svt_small": ("twins", "Twins", {**STAGES, "embed_dims": (16,) * 4}),
    "volo_d1_224": ("volo", "VOLO", {"layers": (1,) * 4, "embed_dims": (24, 32, 32, 32), "num_heads": (2,) * 4}),
}
MODELS = {name: family for family, names in FAMILIES.items() for name in names}


@contextmanager
def shrunk(name: str) -> Iterator[None]:
    """Makes timm build a tiny model of a name, where no argument does."""
    if name not in FIXED:
        yield
        return
    module, kind, sizes = FIXED[name]
    kind = getattr(import_module(f"timm.models.{module}"), kind)
    init = kind.__init__

    @functools.wraps(init)
    def init_tiny(self, *args, **kwargs):
        init(self, *args, **{**kwargs, **sizes})

    kind.__init__ = init_tiny
    try:
        yield
    finally:
        kind.__init__ = init


def build(name: str, head: str, weights: Path | None = None) -> nn.Module:
    """Returns the tiny model with a head, at random or of a saved one, as a training builds it."""
    kwargs = dict(FAMILIES[MODELS[name]][name]) if weights is None else {}
    size = kwargs.pop("img_size", None)
    torch.manual_seed(0)
    source = {"pretrained": False, "weights": weights and str(weights)}
    model = create_model(name, num_labels=3, image_size=size, kwargs=kwargs, **source)
    install_head(model, create_head(head), 3)
    return model if weights else shake(model)


@torch.no_grad()
def shake(model: nn.Module) -> nn.Module:
    """Moves norms, scales and biases away from the values that they begin with, which hide faults."""
    for parameter in model.parameters():
        if parameter.ndim < 2:
            parameter.add_(0.2 * torch.randn_like(parameter))
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand_like(buffer))
    return model


def create_head(head: str) -> functools.partial | None:
    """Returns what puts a head on a model."""
    return create("head.layer", HEADS[head] and {**HEADS[head], "_partial_": True})


def images_of(model: nn.Module) -> torch.Tensor:
    """Returns an image for each row of DATA, of the size that the model takes."""
    size = resolve_input_data_config(model=model)["input_size"]
    return torch.randn(len(DATA), *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def predict(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Returns the logits (B, C) as evaluation has them."""
    with evaluating(model):
        return model(image)


# What is tried: each function raises InputError where a family is refused, and fails where something is silently wrong.


def try_head(model: nn.Module, name: str, head: str, is_quick: bool = False) -> None:
    """Starts at the prior, learns, is saved, loaded, and taken as weights of other runs.

    Args:
        is_quick: only the first of it.
    """
    image = images_of(model)
    assert predict(model, image).shape == (len(DATA), 3)
    fresh = deepcopy(model)
    start_at_log_odds(fresh, LOG_ODDS)
    torch.testing.assert_close(predict(fresh, image), LOG_ODDS.expand(len(DATA), -1), rtol=1e-4, atol=1e-5)
    if is_quick:
        return
    learn(model, image)
    with tempfile.TemporaryDirectory() as folder:
        best = Path(folder) / "best"
        save_model(model, best, space=SPACE, head=HEADS[head] and {**HEADS[head], "_partial_": True})
        logits = predict(model, image)
        torch.testing.assert_close(predict(load_model(best, SPACE.labels), image), logits, rtol=1e-5, atol=1e-6)
        again = build(name, head, best)
        of_head = {key: value for key, value in model.state_dict().items() if is_of_head(name, key)}
        again.load_state_dict(of_head, strict=False)
        torch.testing.assert_close(predict(again, image), logits, rtol=1e-4, atol=1e-5)
        if head != "linear":
            assert predict(build(name, "linear", best), image).isfinite().all()


def is_of_head(name: str, key: str) -> bool:
    """Returns whether a tensor is the head's, which a run does not take over from another."""
    return key in head_keys(name) or key.partition(".")[0] in ("head", "head_dist", "aux_head")


def learn(model: nn.Module, image: torch.Tensor) -> None:
    """Makes one large step; fails if a parameter that is to learn has no gradient, or if it or another does not keep
    to that.
    """
    learned = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    model.train()
    model(image).square().sum().backward()
    assert [name for name, value in model.named_parameters() if learned[name] and value.grad is None] == []
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    model.eval()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved <= {name for name in learned if learned[name]}
    assert moved


def try_fit(model: nn.Module) -> None:
    """Takes rows that are fitted to pooled features, and gives what they say."""
    image = images_of(model)
    FreshHead(model, SPACE, DATA, read_classifier=lambda **_: None, pooled_features=lambda: None).start_rows_at_prior()
    with evaluating(model), torch.no_grad():
        features = pool(model, read_features(model, image)).float()
    row = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(2))
    carry_rows(model, {1: (row, 0.25)})
    if not any(getattr(layer, "reads_tokens", False) for layer in classifiers(model).values()):  # CSRA: approximately
        torch.testing.assert_close(predict(model, image)[:, 1], features @ row + 0.25, rtol=1e-3, atol=1e-4)
    learn(model, image)


def try_alone(model: nn.Module) -> None:
    """Learns the head alone."""
    check_head_alone(model, images_of(model))


def try_last_blocks(model: nn.Module) -> None:
    """Learns the last block and what is behind it."""
    LastBlocks(1).apply(model)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    last = f"blocks.{len(model.blocks) - 1}."
    assert any(name.startswith(last) for name in learned)
    assert not any(name.startswith(("patch_embed", "blocks.0.")) and not name.startswith(last) for name in learned)
    frozen = [name for name, parameter in model.named_parameters() if name not in learned]
    assert not [name for name in frozen if name.startswith(("neck", "norm.", "fc_norm", "attn_pool", last))], frozen
    learn(model, images_of(model))


def try_lora(model: nn.Module) -> None:
    """Learns updates of all linear layers that conf/finetune/lora.yaml names, and merges them."""
    Lora(rank=2, alpha=4.0, dropout=0.0, targets=["qkv", "proj", "fc1", "fc2"]).apply(model)
    image = images_of(model)
    learn(model, image)
    torch.testing.assert_close(predict(merge_lora(model), image), predict(model, image), rtol=1e-3, atol=1e-4)


def try_layer_decay(model: nn.Module) -> None:
    """Has rates that rise from the first parameters to the last ones of the backbone."""
    optimizer = create_optimizer(model, torch.optim.SGD, 1.0, weight_decay=0.0, layer_decay=0.5)
    rates = {parameter: group["lr_scale"] for group in optimizer.param_groups for parameter in group["params"]}
    head = set(head_parameters(model))
    backbone = [rates[parameter] for parameter in model.parameters() if parameter not in head]
    assert {rates[parameter] for parameter in head} == {1.0}
    assert min(backbone) <= 0.5 * max(backbone)


def try_grad_checkpointing(model: nn.Module) -> None:
    """Computes parts again in the backward pass, to the same gradients."""
    image = images_of(model)
    wanted = gradients(model, image)
    checkpoint_gradients(model)
    with counting_checkpoints() as count:
        found = gradients(model, image)
    assert count
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


@contextmanager
def counting_checkpoints() -> Iterator[list]:
    """Notes each part that is computed again in the backward pass."""
    original, count = checkpoint.checkpoint, []

    def noting(*args, **kwargs):
        count.append(args)
        return original(*args, **kwargs)

    checkpoint.checkpoint = noting
    try:
        yield count
    finally:
        checkpoint.checkpoint = original


def gradients(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns the gradients of a loss by the names of the parameters."""
    torch.manual_seed(0)
    model.zero_grad()
    model.train()(image).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


MODES: dict[str, Callable[[nn.Module], None]] = {
    "lp_ft": try_fit,
    "head": try_alone,
    "last_blocks": try_last_blocks,
    "lora": try_lora,
    "layer_decay": try_layer_decay,
    "grad_checkpointing": try_grad_checkpointing,
}
COLUMNS = (*HEADS, *MODES)
MOST_NAMED = 8  # models in a line; of more, the table says which


def try_model(name: str, is_quick: bool = False) -> dict[str, str]:
    """Returns what a model says to each column: nothing, or why it is refused.

    Args:
        is_quick: modes are tried with the linear head alone, and of two_logit and two heads on tokens only the start.
    """
    said = {}
    with shrunk(name):
        for head in HEADS:
            only_start = is_quick and head not in ("linear", "csra")
            said[head] = ask(
                lambda head=head, only_start=only_start: try_head(build(name, head), name, head, only_start)
            )
        taken = [head for head in HEADS if not said[head]]
        for mode, attempt in MODES.items():
            heads = [head for head in taken if not (mode == "lp_ft" and head in NO_ROWS)]
            tries = [partial(try_mode, attempt, name, head) for head in (heads[:1] if is_quick else heads)]
            said[mode] = next(filter(None, map(ask, tries)), "") if taken else said["linear"]
        kind = type(timm.create_model(name, **FAMILIES[MODELS[name]][name])).__name__
    return {
        column: re.sub(r"\d+\.\d+", "...", reason.replace(f"timm's {kind}", "timm's model").replace(kind, "the model"))
        for column, reason in said.items()
    }


def try_mode(attempt: Callable[[nn.Module], None], name: str, head: str) -> None:
    """Tries a mode on a new model."""
    attempt(build(name, head))


def ask(attempt: Callable[[], None]) -> str:
    """Returns why an attempt is refused; nothing, if it is not."""
    try:
        attempt()
    except InputError as error:
        return str(error).splitlines()[0]
    return ""


def write_row(name: str, said: Mapping[str, str]) -> str:
    """Returns the line of a model in the table."""
    cells = ["no" if said[column] else "yes" for column in COLUMNS]
    return f"| {MODELS[name]} | `{name}` | {' | '.join(cells)} |"


def name_models(names: Collection[str]) -> str:
    """Returns the models in a line, or how many they are."""
    return ", ".join(f"`{name}`" for name in names) if len(names) <= MOST_NAMED else f"{len(names)} models"


def write_page(said: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the page: the table, and what is said where it has a no."""
    reasons: dict[str, tuple[dict, dict]] = {}
    for name, answers in said.items():
        for column, reason in answers.items():
            if reason:
                columns, names = reasons.setdefault(reason, ({}, {}))
                columns[column], names[name] = None, None
    told = [
        f"- {'all' if len(columns) == len(COLUMNS) else ', '.join(columns)} of {name_models(names)}:\\\n  {reason}"
        for reason, (columns, names) in reasons.items()
    ]
    head = [f"| module | model | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    rows = [write_row(*row) for row in said.items()]
    return "\n".join([INTRODUCTION, *head, *rows, "", "## What a no says", "", *told, ""])


INTRODUCTION = """# Which ViTs of timm work with what

Tiny models of random weights were built with every head, started at the prior, trained a step in every mode, saved,
loaded, and taken as `model.weights` of other runs, by `python scripts/list_families.py`, which writes this page; a test
compares it with what it finds. A no is an error before training that says why, and what to take instead; nothing was
seen to fail otherwise, or to do nothing.

The table has the modules of timm with models called `*vit*`, and transformers of other names. Other models (ConvNeXt,
ResNet, MLP-Mixer, MetaFormer ...) are not looked at; most can be had with `head=linear finetune=full`.

- Heads: see [Heads](losses_and_heads.md#heads).
- `lp_ft` to `lora`: see [What is trained](losses_and_heads.md#what-is-trained). What is said of `lp_ft` holds for
  `start=fit`, `by_name` and `keep` too; `ml_decoder` and `query2label` never go with it.
- `lora`: with the layers of conf/finetune/lora.yaml. Where a model has others too (AIMv2's gated MLP), or calls them
  otherwise, a line says so, and `finetune.targets` names them.
- `layer_decay`: `optimizer.layer_decay` below 1. Where timm does not know the blocks (PiT), a dozen of parameters is a
  layer.

"""


def main() -> None:
    """Writes the page."""
    logging.disable(logging.WARNING)
    said = {}
    with ProcessPoolExecutor(max_workers=2) as workers:
        for name, answers in zip(MODELS, workers.map(try_model, MODELS), strict=True):
            said[name] = answers
            print(write_row(name, answers), flush=True)
    PAGE.write_text(write_page(said), encoding="utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
