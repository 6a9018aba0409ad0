#!/usr/bin/env bash
# scikit-learn 1.9.1 counts a stored zero of a sparse target as a present label.
#
# What it does: f1_score, jaccard_score, classification_report and multilabel_confusion_matrix take sparse targets. They
#   count the entries that are stored, also where the stored value is 0. accuracy_score looks at the values.
# One would expect: the numbers of the same targets as a dense array. A stored zero is a valid sparse matrix.
# Seen: a prediction without any fault has macro F1 1.0 dense and 0.711 sparse, with accuracy 1.0 beside it, and no warning.
#   A label that is nowhere, compared with itself, has 3 false positives, 3 false negatives and -3 true negatives among 3
#   images. MultiLabelBinarizer.inverse_transform names it for each of them.
# For users: targets are sparse here, with -1 for unknown. `targets.data[targets.data < 0] = 0` is the natural way to take
#   unknown for absent, and it leaves stored zeros. Call eliminate_zeros() before scikit-learn sees them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, f1_score, multilabel_confusion_matrix
from sklearn.preprocessing import MultiLabelBinarizer

target = csr_array(np.array([[1, -1, 0], [0, 1, -1], [-1, 0, 1], [1, 0, 0]]))
target.data[target.data < 0] = 0  # unknown is taken for absent
perfect = csr_array(target.toarray())  # the same values, no stored zeros
dense = f1_score(target.toarray(), perfect.toarray(), average="macro")
sparse = f1_score(target, perfect, average="macro")
print("macro F1 dense", dense, "sparse", round(sparse, 3), "accuracy", accuracy_score(target, perfect))

everywhere = csr_array((np.array([0, 1, 0, 1, 0, 0]), np.array([0, 1, 0, 1, 0, 1]), np.array([0, 2, 4, 6])))
counts = multilabel_confusion_matrix(everywhere, everywhere)[0].ravel().tolist()
print("a label that is nowhere against itself, tn fp fn tp:", counts)
binarizer = MultiLabelBinarizer(sparse_output=True).fit([["cat", "dog"]])
named = binarizer.inverse_transform(everywhere)
print("named", named, "though cat is nowhere")

target.eliminate_zeros()
mended = f1_score(target, perfect, average="macro")
print("after eliminate_zeros()", mended)
if not (dense == 1.0 and round(sparse, 3) == 0.711 and mended == 1.0):
    raise SystemExit("changed: F1 of sparse targets with stored zeros")
if counts != [-3, 3, 3, 0]:
    raise SystemExit("changed: the confusion matrix of stored zeros")
if named[0] != ("cat", "dog"):
    raise SystemExit("changed: the labels that stored zeros are turned into")
PYTHON
