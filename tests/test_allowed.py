import copy
from functools import cache

import pytest
from conftest import compose_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from multihot.errors import InputError
from multihot.processes.environment import check_environment, check_group
from multihot.settings.check import check_settings
from multihot.settings.kinds import LABELS, NULL, list_of, number, whole

GROUPS = ("augment", "data", "finetune", "head", "loss", "optimizer")
base_config = cache(compose_config)


def create_config(script, overrides):
    """Returns what composing gives, which takes 50 times as long."""
    chosen = [text for text in overrides if text.partition("=")[0] in GROUPS]
    needed = {"evaluate": ["run=runs/a"]}.get(script, [])
    cfg = copy.deepcopy(base_config(script, (*needed, *chosen)))
    OmegaConf.set_struct(cfg, False)
    for override in OverridesParser.create().parse_overrides([text for text in overrides if text not in chosen]):
        parent, _, name = override.key_or_group.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if override.is_delete():
            del node[name]
        else:
            node[name] = override.value()
    return cfg


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs=null", "epochs=null: expected a whole number from 0 up"),
        ("epochs='6'", 'epochs="6": expected a whole number from 0 up; write epochs=6'),
        ("epochs=2.0", "write epochs=2"),
        ("epochs=-1", "epochs=-1"),
        ("epochs=true", "epochs=true"),
        ("batch_size=many", "batch_size=many: expected a whole number from 1 up"),
        ("seed=4294967296", "seed=4294967296"),
        ("optimizer.lr='1e-3'", "write optimizer.lr=0.001"),
        ("optimizer.lr=nan", "optimizer.lr=nan"),
        ("optimizer.lr=inf", "optimizer.lr=inf"),
        ("optimizer.lr=null", "optimizer.lr=null"),
        ("optimizer.layer_decay=-1", "expected a number above 0 to 1 or null"),
        ("optimizer.weight_decay=null", "optimizer.weight_decay=null"),
        ("optimizer.factory.betas=[2,0.9]", "optimizer.factory.betas=[2,0.9]: expected a list of 2"),
        ("optimizer.factory.betas=0.9", "optimizer.factory.betas=0.9"),
        ("optimizer.factory.betas=[0.9]", "optimizer.factory.betas=[0.9]"),
        ("+optimizer.factory.momentum=0.9", "settings of optimizer.factory are: params, lr, betas"),
        ("+optimizer.factory.eps=-1", "optimizer.factory.eps=-1"),
        ("+optimizer.factory.amsgrad=maybe", "optimizer.factory.amsgrad=maybe"),
        ("~clip_norm", "clip_norm is gone"),
        ("~loss.function", "loss.function is gone"),
        ("schedule.warmup_fraction=5", "schedule.warmup_fraction=5: expected a number from 0 to 1"),
        ("schedule.factory.lr_min=-1", "schedule.factory.lr_min=-1"),
        ("ema.decay=2", "ema.decay=2: expected a number above 0 to below 1 or null"),
        ("ema.decay=1", "ema.decay=1"),
        ("ema=0.9", "expected settings in it: ema.decay"),
        ("compile=maybe", "compile=maybe: expected one of auto, true, false"),
        ("compile=1", "write compile=true"),
        ("compile=yes", "write compile=true"),
        ("mixed_precision=false", "write mixed_precision=no"),
        ("threshold=high", "threshold=high"),
        ("threshold=2", "threshold must be a probability"),
        ("threshold=true", "threshold=true"),
        ("threshold=[]", "threshold=[]"),
        ("threshold=[0.5,nan]", "threshold=[0.5,nan]"),
        ("loss.smoothing=null", "loss.smoothing=null"),
        ("loss.smoothing=1", "loss.smoothing=1"),
        ("loss.pos_weight=high", "loss.pos_weight=high"),
        ("loss.pos_weight={power:-1}", "loss.pos_weight={power:-1}"),
        ("loss.pos_weight={pow:1}", "expected a number from 0 up or a list"),
        ("loss.weight=[1,-1]", "loss.weight"),
        ("loss.weight=[0,0]", "some of it above 0"),
        ("loss.weight=0", "some of it above 0"),
        ("loss.unknown.weight=null", "loss.unknown.weight=null"),
        ("+loss.alpha=0.25", "settings of loss are: weight, pos_weight"),
        ("loss.function=focal", "loss=<option> chooses one"),
        ("data.sampling=class_balanced", "data.sampling.strategy"),
        ("data.sampling.strategy=rare", "data.sampling.strategy=rare: expected"),
        ("data.sampling.threshold=0", "data.sampling.threshold=0: expected"),
        ("mix.mixup=-0.1", "mix.mixup=-0.1: expected"),
        ("data.num_images.train=0", "data.num_images.train=0"),
        ("data.hidden_fraction=1.5", "data.hidden_fraction=1.5"),
        ("+data.sed=1", "Did you mean seed?"),
        ("model.image_size=small", "model.image_size=small"),
        ("model.kwargs.patch_size=0", "model.kwargs.patch_size=0"),
        ("model.kwargs.num_heads=5", "dim should be divisible by num_heads"),
        ("model.kwargs.num_heads=0", "model.kwargs.num_heads=0"),
        ("model.kwargs=null", "model.kwargs=null: expected {name: value, ...}"),
        ("+model.kwargs.drop_rate=1.5", "model.kwargs.drop_rate=1.5"),
        ("+model.kwargs.drop_path=0.1", "leave out model.kwargs.drop_path=0.1"),
        ("+model.kwargs.num_classes=5", "it follows from the labels of the data"),
        ("+model.kwargs.global_pool=mean", "Only avg, avgmax"),
        ("+model.kwargs.pretrained_cfg_overlay={crop_pct:2}", "pretrained_cfg_overlay.crop_pct=2"),
        ("checkpoint.every_minutes=-1", "checkpoint.every_minutes=-1"),
        ("tracker.project=null", "tracker.project=null"),
        ("+tracker.tagz=[a]", "Did you mean tags?"),
        ("runs_folder=null", "runs_folder=null"),
        ("data.cache_folder=''", 'data.cache_folder=""'),
        ("+epohcs=3", "Did you mean epochs?"),
        ("resume=maybe", "expected one of auto, true, false"),
        ("+start.class_names=[cat,cat]", "none twice"),
        ("+head.start=fit", "head.start=fit: it is now start=<option>, one of random"),
        ("+start.grow=true", "unexpected keyword argument 'grow'"),
        ("epochs={a: 1}", "epochs={a:1}"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_named_with_its_range(override, words):
    cfg = create_config("train", [override])
    with pytest.raises(InputError) as raised:
        check_settings(cfg, "train")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["augment=light", "augment.scale=[2,3]"], "augment.scale=[2,3]"),
        (["augment=light", "augment.scale=[0.9,0.5]"], "none below the one before it"),
        (["augment=light", "augment.ratio=1"], "augment.ratio=1"),
        (["augment=light", "augment.hflip=null"], "augment.hflip=null"),
        (["augment=light", "+augment.re_probe=0.1"], "Did you mean re_prob?"),
        (["augment=light", "augment.auto_augment=foo"], "augment cannot be built"),
        (["finetune=lora", "finetune.rank=0"], "finetune.rank=0"),
        (["finetune=lora", "finetune.targets=qkv"], "write 'finetune.targets=[qkv]'"),
        (["finetune=lora", "+finetune.ranks=4"], "Did you mean rank?"),
        (["finetune=last_blocks", "finetune.num_blocks=99"], "finetune.num_blocks=99: VisionTransformer has 6 blocks"),
        (["finetune=head", "finetune.num_views=null"], "finetune.num_views=null"),
        (["head=csra", "head.layer.num_heads=3"], "expected one of 1, 2, 4, 6, 8"),
        (["head=ml_decoder", "head.layer.num_heads=7"], "does not divide the decoder's width 96"),
        (["head=query2label", "head.layer.dropout=1"], "head.layer.dropout=1"),
        (["loss=focal", "loss.function.gamma=-1"], "loss.function.gamma=-1"),
        (["loss=focal", "loss.function.alpha=2"], "loss.function.alpha=2"),
        (["loss=focal", "+loss.function.beta=2"], "settings of loss.function are: gamma, alpha"),
        (["loss=asymmetric", "loss.function.clip=1"], "loss.function.clip=1"),
        (["loss=asymmetric", "loss.function.gamma_neg=null"], "loss.function.gamma_neg=null"),
        (["loss=two_way", "loss.function.tp=0"], "loss.function.tp=0"),
        (["loss=two_way", "mix.mixup=0.2"], "would round"),
        (["schedule.factory.lr_min=1"], "the rate would rise"),
        (["loss=cross_entropy"], "single_label=true"),
        (["single_label=true", "loss=cross_entropy", "threshold=0.3"], "leave it out"),
        (["activation=tanh", "threshold=-2"], "activation=tanh"),
        (["data=csv", "data.path=x.csv", "data.labels=[a,b,c]", "threshold=[0.1,0.2]"], "a list of 3, one a label"),
        (["data=csv", "data.path=x.csv", "data.labels=[a,b,c]", "loss.weight=[1,2]"], "one a label: 3, not 2"),
        (["data=csv", "data.path=x.csv", "data.labels=abc"], "write 'data.labels=[abc]'"),
        (["data=csv", "data.path=x.csv", "data.labels=[a,null]"], "data.labels=[a,null]"),
        (["data=csv", "data.path=x.csv", "data.groups={colour: red}"], "data.groups"),
        (["data=csv", "data.path=x.csv", "data.separator="], 'data.separator=""'),
        (["data=csv", "data.path=2024"], """write 'data.path="2024"'"""),
        (["data=csv", "data.val_fraction=null"], "data.val_fraction=null"),
        (["data=csv"], "data.path has no value; set it"),
        (["data=coco", "data.path=null"], "data.path=null"),
        (["data=pa100k", "data.path=null"], "data.path=null"),
        (["tracker.tags=a", "seed=x", "epochs=y"], "epochs=y"),
    ],
)
def test_a_setting_of_an_option_or_two_that_do_not_go_together_are_named(overrides, words):
    with pytest.raises(InputError) as raised:
        check_settings(create_config("train", overrides), "train")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("script", "overrides", "words"),
    [
        ("evaluate", ["split=all"], "expected one of val, test, train"),
        ("evaluate", ["threshold=nan"], "threshold=nan"),
        ("evaluate", ["batch_size=0"], "batch_size=0"),
        ("evaluate", ["+data.val_fraction=2"], "data.val_fraction=2"),
        ("evaluate", ["mixed_precision=fp8"], "mixed_precision=fp8"),
        ("validate_data", ["data.path=x.csv", "max_distance=100"], "max_distance=100: expected a whole number"),
        ("validate_data", ["data.path=x.csv", "min_similarity=2"], "min_similarity=2"),
        ("validate_data", ["data.path=x.csv", "ignore=turned"], "write 'ignore=[turned]'"),
        ("split_data", ["data.path=x.csv", "out=y.csv", "num_folds=1"], "num_folds=1"),
        ("split_data", ["data.path=x.csv", "out=y.csv", "num_shots=0"], "num_shots=0"),
        ("split_data", ["data.path=x.csv", "out=y.csv", "fractions={train:0.8,val:x}"], "fractions={train:0.8,val:x}"),
        ("split_data", ["data.path=x.csv", "out=y.csv", "fractions={train:0.8,vla:1}"], "{train, val, test: ...}"),
        ("split_data", ["data.path=x.csv", "num_folds=3"], "out has no value"),
        ("benchmark", ["parts=[loop,fast]"], "parts=[loop,fast]"),
    ],
)
def test_the_settings_of_the_other_scripts_are_checked_too(script, overrides, words):
    with pytest.raises(InputError) as raised:
        check_settings(create_config(script, overrides), script)
    assert words in str(raised.value)


WRONG_CHOICES = (
    "agree=most", "answers={yes:2}", "answers=[yes]", "bad_images=ask", "blank=none", "cache=disk", "crowd=some",
    "difficult=easy", "labels=[true,cat]", "layout=rows", "numbers=hot", "same_file=hash",
    'separator=""', "shuffle_window=0", "uncertain=ignore", "uncertain_by_label={Edema:one}",
    "unlisted=none", "unlisted_pairs=none", "unseen_labels=skip", "unverified=negative", "val_fraction=1",
    "value_range=[5,5]", "value_range=[0,1,2]", "value_range=full", "view=side", "window=lung",
    "window=[40]", "window=[40,0]", "window=[[40,80],[80,200]]",
)  # fmt: skip


@pytest.mark.parametrize("setting", WRONG_CHOICES)
def test_a_setting_of_a_reader_that_none_understands_is_named(setting):
    with pytest.raises(InputError) as raised:
        check_settings(create_config("evaluate", [f"+data.{setting}"]), "evaluate")
    assert f"data.{setting}: expected" in str(raised.value)


def test_a_prefix_may_be_taken_away():
    cfg = create_config("train", ["data=csv", "data.path=x.csv", 'data.replace_prefix={/data/photos/: ""}'])
    check_settings(cfg, "train")
    assert cfg.data.replace_prefix == {"/data/photos/": ""}


def test_all_faults_are_told_at_once():
    with pytest.raises(InputError) as raised:
        check_settings(create_config("train", ["epochs=x", "seed=-1", "ema.decay=2"]), "train")
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == ["seed=-1", "epochs=x", "ema.decay=2"]


def test_kinds_take_what_they_say():
    assert [whole(1).fits(value) for value in (1, 0, 1.0, True, "1", None)] == [True, *[False] * 5]
    assert [number(0).fits(value) for value in (-0.0, float("inf"), float("nan"))] == [True, False, False]
    assert (whole(1) | NULL).fits(None)
    assert [list_of(whole(0), empty=empty).fits([]) for empty in (True, False)] == [True, False]
    assert not LABELS.fits([1, "1"])


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "first"}, "RANK=first: expected a whole number from 0 up"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2: expected below WORLD_SIZE=2"),
        ({"MASTER_PORT": "99999", "LOCAL_RANK": "1.5"}, "MASTER_PORT=99999"),
        ({"ACCELERATE_USE_CPU": "maybe"}, "ACCELERATE_USE_CPU=maybe"),
    ],
)
def test_variables_of_a_launcher_are_checked(variables, words):
    with pytest.raises(InputError) as raised:
        check_environment(variables)
    assert words in str(raised.value)


def test_a_process_of_a_group_needs_all_that_finds_the_others():
    check_group({"LOCAL_RANK": "-1"})
    with pytest.raises(InputError, match="not RANK, MASTER_ADDR, MASTER_PORT"):
        check_group({"LOCAL_RANK": "0", "WORLD_SIZE": "2"})
