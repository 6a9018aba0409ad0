import shlex

import pytest
from conftest import compose_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from multihot.cli import explain
from multihot.command_line import WORD, read_value
from multihot.errors import InputError
from multihot.settings.typed_overrides import check_typed


def explain_typed(line):
    """Returns what is said of arguments as a shell hands them on."""
    with pytest.raises(InputError) as raised:
        check_typed(shlex.split(line))
    return str(raised.value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("'data.path=/photos/my pics (1).csv'", "/photos/my pics (1).csv"),
        ("data.path=/photos/my pics.csv", "/photos/my pics.csv"),
        ("data.path=~/x.csv", "~/x.csv"),
        ("data.path=a=b.csv", "a=b.csv"),
        ("'data.path=a#b & c!.csv'", "a#b & c!.csv"),
        ("'data.path=[1].csv'", "[1].csv"),
        ("'data.path=\"a.csv'", "a.csv"),
        ("'data.separator=;'", ";"),
        ("data.separator=,", ","),
        ("name=größe", "größe"),
        ('"name=it\'s"', "it's"),
        ("'name=say \"hi\"'", 'say "hi"'),
        ("data.labels=[a b,c]", ["a b", "c"]),
        ("data.labels=[a, b]", ["a", "b"]),
        ("'data.labels=[größe,b]'", ["größe", "b"]),
        ("'data.labels=[a,]'", ["a"]),
        ("data.groups={colour: [red, blue]}", {"colour": ["red", "blue"]}),
        ("'data.groups={colour: [red, blue}'", {"colour": ["red", "blue"]}),
        ("'data.groups={colour: [\"red (x)\", größe]}'", {"colour": ["red (x)", "größe"]}),
        ("--epochs=3", 3),
        ("--epochs 3", 3),
        ("-epochs 3", 3),
        ("epochs = 3", 3),
        ("'epochs = 3'", 3),
        ("epochs 3", 3),
        ("epochs:3", 3),
        ("epochs: 3", 3),
        ("epochs==3", 3),
        ("epochs=3,", 3),
        ("--batch-size=8", 8),
        ("--run runs/x", "runs/x"),
        ("--run=runs/x", "runs/x"),
    ],
)
def test_the_form_that_works_is_told_and_works(line, value):
    [told] = shlex.split(explain_typed(line).rpartition(": write ")[2])
    check_typed([told])
    assert OverridesParser.create().parse_override(told).value() == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("epochs", "epochs: it has no value; write epochs=..."),
        ("my.csv", "my.csv: a setting is written <name>=<value>"),
        ("data=csv my.csv", "my.csv: a setting is written <name>=<value>"),
        ("epochs=1,2", "-m epochs=1,2 starts a run for each"),
        ("data.labels=a,b", "'data.labels=[a,b]' is a list"),
        ("optimizer.lr=1,5e-3", "optimizer.lr=1.5e-3 is one number"),
        ("'seed=foo(3)'", "seed takes a whole number"),
        ("'data.groups={größe: [a, b]}'", "conf/experiment/<name>.yaml"),
        ("-m epochs=1,2,", "write epochs=1,2"),
        ("--epochs=3 --seed=1", "--epochs=3: write epochs=3\n--seed=1: write seed=1"),
    ],
)
def test_what_cannot_be_repaired_is_said(line, words):
    assert words in explain_typed(line)


@pytest.mark.parametrize(
    "line",
    [
        "epochs=3 data.path=x.csv 'data.image_column=Image Index' ~debug +model.kwargs.depth=2",
        "-m epochs=1,2 hydra/sweeper=search 'optimizer.lr=tag(log,interval(1e-5,1e-2))' 'seed=range(3)'",
        "--help",
        "--cfg job epochs=3",
        "--multirun name=a,b",
        "'data.path=\"shards/train-{000000..000001}.tar\"'",
    ],
)
def test_what_hydra_takes_passes(line):
    check_typed(shlex.split(line))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data=my.csv", "data=csv data.path=my.csv"),
        ("data=photos/", "data=folder data.path=photos/"),
        ("model=vit.pth", "model.weights=<file>"),
        ("loss=bcee", "Did you mean bce?"),
        ("optimizer=null", "leave it out"),
        ("lr=3", "Did you mean optimizer.lr?"),
        ("weights=a.pth", "Did you mean model.weights?"),
        ("data.path=x.csv", "choose that first, data=<option>"),
        ("model.kwargs.drop_rate=0.1", "write +model.kwargs.drop_rate=..."),
        ("augment.re_prob=0.1", "write +augment.re_prob=..."),
        ("name=${HOME}/x", "${oc.env:NAME}"),
    ],
)
def test_hydra_s_complaints_name_what_to_type(override, words):
    with pytest.raises((ValueError, HydraException, OmegaConfBaseException)) as raised:
        compose_config("train", [override]).name  # noqa: B018
    assert words in explain(raised.value)


def test_a_setting_of_an_evaluated_run_s_data_wants_a_plus():
    with pytest.raises(HydraException) as raised:
        compose_config("evaluate", ["run=runs/a", "data.root=/new"])
    assert "write +data.root=..." in explain(raised.value)


@pytest.mark.parametrize("text", ["None", "off", "e5", "_1", "infinity", "null", "NULL", "True", "FALSE", "inf", "NaN"])
def test_what_passes_for_a_word_is_one_for_hydra(text):
    assert bool(WORD.fullmatch(text)) == (read_value(text) == text)
