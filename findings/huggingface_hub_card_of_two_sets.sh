#!/usr/bin/env bash
# huggingface_hub 2.4.0 writes the scores of a second data set of one type into the model card as scores of the first.
#
# What it does: EvalResults are put together by the task's type and the data set's type, configuration, split and
#   revision. Of each bunch the first result's name of the data set, and its arguments, are written, and those of the
#   others dropped.
# One would expect: the name to count, which is required and is what people read; or an error.
# Seen: mAP 0.5 on "clinic A" and 0.9 on "clinic B", both of type imagefolder: the card says clinic A, mAP 0.5 and mAP
#   0.9, and so does the card read back. Three folds that differ in dataset_args only are all fold 1. A configuration
#   of its own keeps them apart. A NumPy float32 as a value is written as a Python object, without an error, and the
#   card cannot be read any more.
# For users: scores of several folders or hospitals stand under one name, the best beside the worst. Give dataset_type
#   or dataset_config a word of its own, and float() to the values.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

BOTH = {"task_type": "image-classification", "dataset_type": "imagefolder", "metric_type": "mAP"}
A = EvalResult(**BOTH, dataset_name="clinic A", metric_value=0.5)


def card(*results: EvalResult) -> str:
    return f"---\n{ModelCardData(model_name='vit', eval_results=list(results)).to_yaml()}\n---\n# A model\n"


def read_back(*results: EvalResult) -> list[tuple]:
    """Data set, its arguments and the score of each result of the card."""
    results = ModelCard(card(*results)).data.eval_results
    return [(each.dataset_name, each.dataset_args, each.metric_value) for each in results]


two = read_back(A, EvalResult(**BOTH, dataset_name="clinic B", metric_value=0.9))
folds = read_back(*(EvalResult(**BOTH, dataset_name="clinic A", dataset_args={"fold": fold}, metric_value=fold / 10)
                    for fold in (1, 2, 3)))
apart = read_back(A, EvalResult(**BOTH, dataset_name="clinic B", dataset_config="B", metric_value=0.9))
print("two clinics:", two)
print("three folds:", folds)
print("with a configuration of its own:", apart)
text = card(EvalResult(**BOTH, dataset_name="clinic A", metric_value=np.float32(0.5)))
try:
    ModelCard(text)
    readable = True
except yaml.YAMLError as error:
    readable = False
    print("a card with a float32 is written in", len(text.splitlines()), "lines and read:", type(error).__name__)
if two != [("clinic A", None, 0.5), ("clinic A", None, 0.9)] or [fold[1] for fold in folds] != [{"fold": 1}] * 3:
    raise SystemExit("changed: results of one type of data")
if apart != [("clinic A", None, 0.5), ("clinic B", None, 0.9)] or readable:
    raise SystemExit("changed: a configuration of its own, or a float32 in the card")
PYTHON
