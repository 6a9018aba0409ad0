#!/usr/bin/env bash
# torchmetrics 1.9.0 makes one metric of two in a MetricCollection when the first batch gives them the same state.
#
# What it does: after the first update a collection compares the states of its metrics, whatever their class and arguments.
#   Those with equal states share one from then on, after reset() too. Only the first of them is updated.
# One would expect: metrics shared where class and arguments say that they count the same things.
# Seen: the first batch has one label an image, ranked first. Ranking AP (1 an image) and coverage error (1 an image) are
#   merged, and the ranking AP of both batches is 2.850 where it is 0.730; after reset() 3.312 where it is 0.663. F1 at the cuts
#   0.5 and 0.45 are merged as no score of the first batch lies between, and stay equal: 0.524 and 0.524 for 0.514 and 0.524.
# For users: comparing cuts in one collection compares nothing if the first batch does not tell them apart, as with few
#   present labels or a sure model. Give compute_groups=False, or the groups as lists.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from sklearn.metrics import coverage_error, f1_score, label_ranking_average_precision_score
from torchmetrics import MetricCollection
from torchmetrics.classification import MultilabelCoverageError, MultilabelF1Score, MultilabelRankingAveragePrecision

generator = torch.Generator().manual_seed(0)
labels = 5
easy = torch.eye(labels).int()[torch.randint(labels, (8,), generator=generator)]  # one label an image
hard = (torch.rand(32, labels, generator=generator) < 0.3).int()
sure = 0.4 * torch.rand(8, labels, generator=generator) + 0.5 * easy  # and it is ranked first
unsure = torch.rand(32, labels, generator=generator)
target, scores = torch.cat([easy, hard]).numpy(), torch.cat([sure, unsure]).numpy()
metrics = {
    "ranking AP": MultilabelRankingAveragePrecision(labels),
    "coverage error": MultilabelCoverageError(labels),
    "F1 at 50": MultilabelF1Score(labels, threshold=0.5),
    "F1 at 45": MultilabelF1Score(labels, threshold=0.45),
}
truth = {
    "ranking AP": label_ranking_average_precision_score(target, scores),
    "coverage error": coverage_error(target, scores),
    "F1 at 50": f1_score(target, scores > 0.5, average="macro"),
    "F1 at 45": f1_score(target, scores > 0.45, average="macro"),
}


def computed(collection, batches) -> dict[str, float]:
    """The values of the collection after the batches."""
    for batch in batches:
        collection.update(*batch)
    values = {name: float(value) for name, value in collection.compute().items()}
    collection.reset()
    return values


apart = computed(MetricCollection({name: each.clone() for name, each in metrics.items()}, compute_groups=False),
                 [(sure, easy), (unsure, hard)])
shared = MetricCollection({name: each.clone() for name, each in metrics.items()})
together = computed(shared, [(sure, easy), (unsure, hard)])
later = computed(shared, [(unsure, hard)])
for name, value in truth.items():
    print(f"{name}: scikit-learn {value:.3f}, apart {apart[name]:.3f}, in a collection {together[name]:.3f},"
          f" the second batch alone {later[name]:.3f}")
later_truth = label_ranking_average_precision_score(hard.numpy(), unsure.numpy())
print(f"ranking AP of the second batch alone by scikit-learn {later_truth:.3f}")
print("merged:", [names for names in shared.compute_groups.values() if len(names) > 1])
if abs(later_truth - 0.663) > 1e-3 or any(abs(apart[name] - value) > 1e-4 for name, value in truth.items()):
    raise SystemExit("changed: the metrics apart")
if together["ranking AP"] != together["coverage error"] or later["ranking AP"] < 1:
    raise SystemExit("changed: ranking AP and coverage error are not merged")
if together["F1 at 50"] != together["F1 at 45"] or later["F1 at 50"] != later["F1 at 45"]:
    raise SystemExit("changed: F1 at two cuts is not merged")
PYTHON
