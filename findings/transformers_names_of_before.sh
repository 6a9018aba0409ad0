#!/usr/bin/env bash
# transformers 5.24.0 brings back the old label names of a timm model that was given new ones and saved.
#
# What it does: the configuration of a timm model keeps the list label_names of its file beside id2label.
#   save_pretrained writes the list as it was read, drops id2label, and from_pretrained makes id2label of the list. If
#   the numbers of labels differ, the names become LABEL_0, LABEL_1 and so on.
# One would expect: the names that the model had when it was saved, as for every other model of the package.
# Seen: a file with cat, dog, car, bus; given frost, hail, rain, snow by the argument id2label or by setting it, saved
#   and loaded: cat, dog, car, bus. With six new names: LABEL_0 to LABEL_5. A file without label_names keeps the first
#   new names and loses the second. A ViT of transformers' own keeps them all.
# For users: fine-tune a published multi-label timm model to as many labels of another kind, and the saved model names
#   its predictions after the other task. Set config.label_names too before saving, and read the names back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0
TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
import tempfile
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, ViTConfig

OLD = ["cat", "dog", "car", "bus"]
NEW = ["frost", "hail", "rain", "snow"]
SIX = [*NEW, "fog", "wind"]


def folder() -> Path:
    return Path(tempfile.mkdtemp(dir=sys.argv[1]))


def published(**names) -> Path:
    """A folder with the configuration of a timm model as timm writes it."""
    place = folder()
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 4, "pretrained_cfg": {"num_classes": 4}, **names}
    (place / "config.json").write_text(json.dumps(config))
    return place


def given(names: list[str]) -> dict:
    return {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}


def back(config: PreTrainedConfig) -> list[str]:
    """The names behind saving and loading."""
    place = folder()
    config.save_pretrained(place)
    return list(AutoConfig.from_pretrained(place).id2label.values())


loaded = AutoConfig.from_pretrained(published(label_names=OLD), **given(NEW))
changed = AutoConfig.from_pretrained(published(label_names=OLD))
changed.id2label, changed.label2id = given(NEW).values()
six = AutoConfig.from_pretrained(published(label_names=OLD), num_labels=6, **given(SIX))
nameless = AutoConfig.from_pretrained(published(), **given(OLD))
again = AutoConfig.from_pretrained(published(), **given(OLD))
again_place = folder()
again.save_pretrained(again_place)
again = AutoConfig.from_pretrained(again_place)
again.id2label, again.label2id = given(NEW).values()
own = ViTConfig(**given(OLD))
own.id2label, own.label2id = given(NEW).values()
whole = AutoConfig.from_pretrained(published(label_names=OLD), **given(NEW))
whole.label_names = NEW
seen = {}
for name, config in {"by argument": loaded, "by setting": changed, "six by argument": six,
                     "no list in the file": nameless, "and given new ones again": again,
                     "transformers' own ViT": own, "label_names too": whole}.items():
    seen[name] = back(config)
    print(f"{name}: {list(config.id2label.values())} come back as {seen[name]}")
if any(seen[name] != OLD for name in ("by argument", "by setting", "and given new ones again")):
    raise SystemExit("changed: names that were given to a timm model")
if seen["six by argument"] != [f"LABEL_{row}" for row in range(6)]:
    raise SystemExit("changed: names of another number")
if seen["no list in the file"] != OLD or seen["transformers' own ViT"] != NEW or seen["label_names too"] != NEW:
    raise SystemExit("changed: where names are kept")
PYTHON
