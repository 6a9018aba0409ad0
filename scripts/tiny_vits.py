"""Tiny models of all families of ViTs in timm, with every head: what list_families.py and list_exports.py try."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from timm.models.mvitv2 import MultiScaleVitCfg
from torch import nn

from multihot.known_classes import create
from multihot.model.create import create_model
from multihot.model.heads import install_head

DECODER = {"decoder_width": 8, "num_heads": 2, "feedforward_width": 8, "dropout": 0.0}
HEADS = {  # as conf/head has them
    "linear": None,
    "two_logit": {"_target_": "multihot.model.heads.TwoLogit"},
    "csra": {"_target_": "multihot.model.heads.CSRA", "num_heads": 1, "attention_weight": 0.2},
    "ml_decoder": {"_target_": "multihot.model.heads.MLDecoder", "num_groups": 2, **DECODER},
    "query2label": {"_target_": "multihot.model.heads.Query2Label", "num_layers": 1, **DECODER},
}
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
