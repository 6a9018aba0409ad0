"""Every setting in conf/ and what it may be. A new setting is one line here; a test tells which one is missing.

A setting of something that a `_target_` names (a loss, a head, a reader with a range of its own) is in TARGETS under
that name; all others under their dotted names.
"""

from multihot.settings.kinds import (
    ANYTHING,
    COLUMNS,
    FLAG,
    LABELS,
    MARK,
    NAME,
    NULL,
    PATH,
    SHARE,
    TEXT,
    Kind,
    choice,
    list_of,
    mapping_of,
    number,
    whole,
)

GROUP = LABELS | Kind(
    "{labels: [...], none: true}",
    lambda value: mapping_of(LABELS | FLAG, ["labels", "none"]).fits(value) and LABELS.fits(value.get("labels")),
)
SIDES = whole(1) | list_of(whole(1), [2])
COLOURS = list_of(number(), [3])
WEIGHT = number(0) | list_of(number(0))
SOME_WEIGHT = Kind(
    f"{WEIGHT.words}, some of it above 0",
    lambda value: WEIGHT.fits(value) and any(value if isinstance(value, list) else [value]),
)
BALANCE = Kind(
    "{power: 0.5, max: 10}",
    lambda value: mapping_of(number(0) | NULL, ["power", "max"]).fits(value) and number(0).fits(value.get("power")),
)
SEED = whole(0, 4_294_000_000)  # numpy's generators take no larger ones, and each process adds its number
RUN_NAME = Kind("a name or null", lambda value: NAME.fits(value) or isinstance(value, str | None))  # see open_run.py
ABSENT, ANSWER = choice("absent", "unknown"), choice("unknown", "ones", "zeros")

DATA = {
    "data._target_": TEXT,
    "data._partial_": FLAG,
    "data.bad_images": choice("error", "skip"),
    "data.value_range": choice("auto") | list_of(number(), [2], rising=True, once=True),
    "data.corrections": PATH | NULL,
    "data.sampling.strategy": choice("uniform", "class_balanced", "repeat_factor"),
    "data.sampling.threshold": number(above=0, high=1),
    "data.shuffle_window": whole(1) | NULL,
    "data.cache": choice("none", "resized", "memory"),
    "data.cache_folder": PATH,
    "data.root": PATH | NULL,
    "data.labels": LABELS | NULL,
    "data.none_labels": LABELS | NULL,
    "data.groups": mapping_of(GROUP) | NULL,
    "data.val_fraction": number(0, below=1),
    "data.split_seed": whole(0),
    "data.unseen_labels": choice("error", "drop"),
    "data.path": PATH | NULL,
    "data.val_path": PATH | NULL,
    "data.test_path": PATH | NULL,
    "data.val_root_path": PATH | NULL,
    "data.test_root_path": PATH | NULL,
    "data.layout": choice("cell", "columns", "pairs"),
    "data.image_column": TEXT,
    "data.image_suffix": TEXT | NULL,
    "data.labels_column": TEXT | list_of(TEXT, once=True),
    "data.ignore_columns": COLUMNS | NULL,
    "data.separator": MARK,
    "data.unknown_column": TEXT | NULL,
    "data.label_columns": LABELS | NULL,
    "data.answers": mapping_of(choice("present", "absent", "unknown") | SHARE) | NULL,
    "data.agree": choice("error", "majority", "any", "all", "mean"),
    "data.blank": ABSENT,
    "data.value_column": TEXT | NULL,
    "data.unlisted_pairs": ABSENT,
    "data.split_column": TEXT | NULL,
    "data.weight_column": TEXT | NULL,
    "data.cluster_column": TEXT | NULL,
    "data.delimiter": MARK | NULL,
    "data.image_cache_path": PATH,
    "data.crowd": choice("keep", "drop", "unknown"),
    "data.min_area": number(0),
    "data.split_folders": FLAG | NULL,
    "data.same_file": choice("content", "name", "never"),
    "data.uncertain": ANSWER,
    "data.uncertain_by_label": mapping_of(ANSWER) | NULL,
    "data.view": choice("all", "frontal", "lateral"),
    "data.train_set": TEXT | NULL,
    "data.val_set": TEXT | NULL,
    "data.test_set": TEXT | NULL,
    "data.difficult": choice("unknown", "present", "absent"),
    "data.machine_path": PATH | NULL,
    "data.val_machine_path": PATH | NULL,
    "data.test_machine_path": PATH | NULL,
    "data.classes_path": PATH,
    "data.trainable_path": PATH | NULL,
    "data.images": TEXT,
    "data.val_images": TEXT,
    "data.test_images": TEXT,
    "data.unverified": ABSENT,
    "data.name": TEXT | NULL,
    "data.config_name": TEXT | NULL,
    "data.cache_path": PATH | NULL,
    "data.train_split": TEXT | NULL,
    "data.val_split": TEXT | NULL,
    "data.test_split": TEXT | NULL,
    "data.numbers": choice("multi_hot", "ids"),
    "data.unlisted": ABSENT,
    "data.image_extensions": list_of(TEXT, once=True),
    "data.labels_extension": TEXT | NULL,
    "data.labels_key": TEXT | NULL,
    "data.weight_key": TEXT | NULL,
    "data.cluster_key": TEXT | NULL,
    "data.index_path": PATH,
    "data.num_images.train": whole(1),
    "data.num_images.val": whole(0),
    "data.num_images.test": whole(0),
    "data.max_digits": whole(1),
    "data.num_clutter": whole(0),
    "data.single_label": FLAG,
    "data.hidden_fraction": number(0, below=1),
    "data.seed": whole(0),
}

DECISIONS = {
    "decisions.aim": NULL,  # or a class, see TARGETS
    "decisions.per_label": FLAG,
    "decisions.calibration": choice("platt", "beta", "isotonic", "none"),
}

TRAIN = (
    DATA
    | DECISIONS
    | {
        "name": RUN_NAME,
        "seed": SEED,
        "epochs": whole(0),
        "batch_size": whole(1),
        "resume": choice("auto", True, False),
        "monitor": TEXT,
        "patience": whole(1) | NULL,
        "single_label": FLAG,
        "activation": TEXT,  # softmax has an answer of its own
        "threshold": number() | list_of(number()) | NULL,
        "max_images": whole(1) | NULL,
        "head.layer": NULL,  # or a class, see TARGETS
        "start.class_names": PATH | LABELS | NULL,
        "start.aliases": PATH | NULL,
        "start.grow": FLAG,
        "loss.weight": SOME_WEIGHT | NULL,
        "loss.pos_weight": WEIGHT | BALANCE | NULL,
        "loss.smoothing": number(0, below=1),
        "loss.reduction": choice("mean", "batchmean", "sum", "none"),  # none has an answer of its own
        "loss.unknown.strategy": choice("ignore", "negative", "weak_negative"),
        "loss.unknown.weight": SHARE,
        "mix.mixup": number(0),
        "mix.cutmix": number(0),
        "model.name": TEXT,
        "model.pretrained": FLAG,
        "model.weights": PATH | NULL,
        "model.image_size": whole(1) | NULL,
        "optimizer.lr": number(above=0),
        "optimizer.head_lr": number(above=0) | NULL,
        "optimizer.weight_decay": number(0),
        "optimizer.layer_decay": number(above=0, high=1) | NULL,
        "schedule.warmup_fraction": SHARE,
        "grad_checkpointing": FLAG,
        "accumulate_steps": whole(1),
        "clip_norm": number(above=0) | NULL,
        "checkpoint.every_minutes": number(0) | NULL,
        "checkpoint.keep": whole(1),
        "ema.decay": number(above=0, below=1) | NULL,
        "mixed_precision": choice("auto", "no", "fp16", "bf16"),
        "kernels": choice("auto", "default", "fused-highest", "unfused-highest", "fused-medium", "unfused-medium"),
        "compile": FLAG,
        "num_workers": whole(0) | NULL,
        "log_every": whole(1),
        "report": FLAG,
        "runs_folder": PATH,
        "tracker.kind": choice("wandb", "tensorboard") | NULL,
        "tracker.project": TEXT,
        "tracker.mode": choice("auto", "online", "offline", "disabled"),
        "tracker.group": TEXT | NULL,
        "tracker.tags": list_of(NAME, empty=True),
        "tracker.artifacts": FLAG,
        "tracker.start_seconds": number(above=0),
        "tracker.finish_seconds": number(0),
    }
)

SCRIPTS = {
    "train": TRAIN,
    "fit_decisions": DECISIONS
    | {"run": NAME, "split": choice("val", "train", "test")},  # test has an answer of its own
    "benchmark": TRAIN
    | {
        "parts": list_of(
            choice(
                "loop", "kernels", "input", "checkpoint", "metrics", "startup", "manifest", "tracking", "evaluation"
            ),
            once=True,
        ),
        "evaluation_size": list_of(whole(1), [2]),
        "num_steps": whole(1),
        "num_rounds": whole(1),
    },
    "evaluate": DATA
    | {
        "run": NAME,
        "split": choice("val", "test", "train"),
        "out": PATH | NULL,
        "predict": choice("auto", "again"),
        "threshold": TRAIN["threshold"],
        "resamples": whole(0),
        "batch_size": whole(1) | NULL,
        "mixed_precision": choice("no", "bf16", "fp16") | NULL,
        "num_workers": whole(0) | NULL,
    },
    "report": DATA
    | {
        "run": NAME | list_of(NAME, [2], once=True),
        "split": choice("val", "test", "train"),
        "out": PATH | NULL,
        "pictures": whole(0),
        "saliency": FLAG,
        "doctor": PATH | NULL,
    },
    "find_label_errors": DATA
    | {
        "run": NAME | list_of(NAME, once=True),
        "split": choice("train", "val", "test"),
        "out": PATH | NULL,
        "num_folds": whole(2),
        "num_shown": whole(1),
        "clusters": PATH | NULL,
        "plant": number(0, below=1),
        "seed": SEED,
        "image_root": PATH | NULL,
        "batch_size": whole(1) | NULL,
        "num_workers": whole(0) | NULL,
    },
    "validate_data": DATA
    | {
        "out": PATH,
        "strict": FLAG,
        "ignore": list_of(TEXT, once=True, empty=True),
        "tiny_side": whole(1),
        "max_distance": whole(0, 16),
        "min_similarity": SHARE,
        "num_workers": whole(0) | NULL,
        "single_label": FLAG,
        "runs_folder": PATH,
    },
    "split_data": DATA
    | {
        "out": PATH,
        "fractions": mapping_of(SHARE, ["train", "val", "test"], empty=False),
        "num_folds": whole(2) | NULL,
        "num_shots": whole(1) | NULL,
        "pool": list_of(choice("train", "val", "test"), once=True),
        "clusters": PATH | NULL,
        "separator": MARK | NULL,
        "seed": whole(0),
        "overwrite": FLAG,
        "num_worst": whole(0),
        "runs_folder": PATH,
    },
}

DECODER = {
    "decoder_width": whole(1) | NULL,
    "num_heads": whole(1),
    "feedforward_width": whole(1),
    "dropout": number(0, below=1),
}
FOCUS = {"gamma": number(0), "alpha": SHARE | NULL}
NEEDS_PATH = {"path": PATH}

ASYMMETRIC = {
    "gamma_neg": number(0),
    "gamma_pos": number(0),
    "clip": number(0, below=1) | NULL,
    "eps": number(above=0, below=1),
}
TARGETS = {  # and the arguments that have a range; others are checked by their names and by calling it
    "multihot.data.readers.chexpert.ChexpertReader": NEEDS_PATH,
    "multihot.data.readers.coco.CocoReader": NEEDS_PATH,
    "multihot.data.readers.folders.FolderReader": NEEDS_PATH,
    "multihot.data.readers.open_images.OpenImagesReader": NEEDS_PATH,
    "multihot.data.readers.voc.VocReader": NEEDS_PATH,
    "multihot.data.readers.web_dataset.WebDatasetReader": NEEDS_PATH,
    "multihot.model.heads.CSRA": {"num_heads": choice(1, 2, 4, 6, 8), "attention_weight": number(0)},
    "multihot.model.heads.MLDecoder": DECODER | {"num_groups": whole(1)},
    "multihot.model.heads.Query2Label": DECODER | {"num_layers": whole(1)},
    "multihot.model.heads.TwoLogit": {},
    "multihot.model.finetune.Full": {},
    "multihot.model.finetune.LpFt": {},
    "multihot.model.finetune.Head": {"num_views": whole(0)},
    "multihot.model.finetune.LastBlocks": {"num_blocks": whole(1)},
    "multihot.model.finetune.Lora": {
        "rank": whole(1),
        "alpha": number(above=0),
        "dropout": number(0, below=1),
        "targets": list_of(TEXT, once=True),
    },
    "multihot.loss.BinaryCrossEntropy": {},
    "multihot.loss.ProbabilityBinaryCrossEntropy": {},
    "multihot.loss.FocalLoss": FOCUS,
    "multihot.loss.AsymmetricLoss": ASYMMETRIC | {"disable_torch_grad_focal_loss": FLAG},
    "timm.loss.AsymmetricLossMultiLabel": ASYMMETRIC,
    "timm.loss.PolyBinaryCrossEntropy": FOCUS | {"epsilon": number(-1), "reduction": choice("none")},
    "timm.loss.TwoWayLoss": {"tp": number(above=0), "tn": number(above=0)},
    "timm.loss.ZlprLoss": {},
    "timm.loss.DistributionBalancedLoss": {
        "map_alpha": number(0),
        "map_beta": number(above=0),
        "map_mu": number(0),
        "neg_scale": number(above=0),
        "init_bias": number(0),
        "focal_gamma": number(0),
        "focal_balance": number(above=0),
        "smoothing": number(0, below=1),
        "reduction": choice("none"),
    },
    "multihot.decisions.aims.MicroF1": {"beta": number(above=0)},
    "multihot.decisions.aims.MacroF1": {"beta": number(above=0)},
    "multihot.decisions.aims.SamplesF1": {"beta": number(above=0)},
    "multihot.decisions.aims.Precision": {"at_least": number(above=0, below=1)},
    "multihot.decisions.aims.Recall": {"at_least": number(above=0, below=1)},
    "multihot.decisions.aims.Cost": {"miss": number(above=0), "false_alarm": number(above=0)},
    "torch.nn.CrossEntropyLoss": {"reduction": choice("none"), "label_smoothing": number(0, below=1)},
    "torch.optim.AdamW": {
        "betas": list_of(number(0, below=1), [2]),
        "eps": number(above=0),
        "fused": FLAG | NULL,
        "foreach": FLAG | NULL,
        "amsgrad": FLAG,
    },
    "torch.optim.SGD": {"momentum": number(0, below=1), "dampening": number(0), "nesterov": FLAG},
    "timm.scheduler.CosineLRScheduler": {
        "warmup_lr_init": number(0),
        "lr_min": number(0),
        "cycle_limit": whole(1),
        "cycle_mul": number(above=0),
        "cycle_decay": number(above=0),
        "noise_pct": number(0),
        "noise_std": number(0),
        "noise_seed": whole(0),
        "k_decay": number(above=0),
    },
    "timm.data.create_transform": {
        "is_training": FLAG,
        "scale": list_of(number(above=0, high=1), [2], rising=True),
        "ratio": list_of(number(above=0), [2], rising=True),
        "hflip": SHARE,
        "vflip": SHARE,
        "color_jitter": number(0) | list_of(number(0), [3, 4]) | NULL,
        "color_jitter_prob": SHARE | NULL,
        "grayscale_prob": SHARE,
        "gaussian_blur_prob": SHARE,
        "auto_augment": TEXT | NULL,
        "re_prob": SHARE,
        "re_mode": choice("const", "rand", "pixel"),
        "re_count": whole(1),
        "crop_pct": number(above=0, high=1) | NULL,
    },
}
TARGET_KEYS = {"_target_": TEXT, "_partial_": FLAG}

DROP = number(0, below=1)
MODEL_KWARGS = {  # of a timm model; others are checked by its own signature
    "patch_size": SIDES,
    "embed_dim": whole(1),
    "depth": whole(1),
    "num_heads": whole(1),
    "mlp_ratio": number(above=0),
    "init_values": number(above=0) | NULL,
    "reg_tokens": whole(0),
    "drop_rate": DROP,
    "pos_drop_rate": DROP,
    "patch_drop_rate": DROP,
    "proj_drop_rate": DROP,
    "attn_drop_rate": DROP,
    "drop_path_rate": DROP,
    "class_token": FLAG,
    "qkv_bias": FLAG,
    "qk_norm": FLAG,
    "dynamic_img_size": FLAG,
    "dynamic_img_pad": FLAG,
    "pretrained_cfg_overlay": mapping_of(ANYTHING),
}
PREPROCESSING = {  # of model.kwargs.pretrained_cfg_overlay
    "crop_pct": number(above=0, high=1),
    "crop_mode": choice("center", "squash", "border"),
    "mean": COLOURS,
    "std": list_of(number(above=0), [3]),
    "interpolation": choice("bicubic", "bilinear", "nearest", "lanczos", "random"),
    "input_size": list_of(whole(1), [3]),
}
