"""Tries tiny models of all families of ViTs in timm with every head in every mode, and writes docs/families.md.

python scripts/list_families.py      about two minutes on two cores
"""

import logging
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process on each core

import numpy as np
import timm
import torch
from scipy.sparse import csr_array
from timm.data import resolve_input_data_config
from tiny_vits import FAMILIES, HEADS, MODELS, build, shrunk
from torch import nn
from torch.utils import checkpoint

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.model.architecture import head_keys
from multihot.model.features import check_head_alone, pool, read_features
from multihot.model.finetune import LastBlocks, Lora, checkpoint_gradients, head_parameters, merge_lora
from multihot.model.heads import carry_rows, classifiers, start_at_log_odds
from multihot.model.probe import evaluating
from multihot.model.saved import load_model, save_model
from multihot.model.start import FreshHead
from multihot.training.optimizer import create_optimizer

PAGE = Path(__file__).resolve().parents[1] / "docs/families.md"
SPACE = LabelSpace(("cat", "dog", "owl"))
LOG_ODDS = torch.tensor([-1.0, 0.5, -2.0])
TARGETS = csr_array(np.int8([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]))
DATA = Manifest(SPACE.labels, ["a", "b", "c", "d"], TARGETS)
NO_ROWS = ("ml_decoder", "query2label")  # nothing can be fitted to them, whatever the model


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
