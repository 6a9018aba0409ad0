"""Every score against scikit-learn, or against a number worked by hand."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import Tensor

from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.metrics import COLUMNS, SCORES, check_group_names, evaluate_logits, multi_label_scores
from multihot.metrics.collection import create_metrics
from multihot.metrics.single_label import evaluate_single_label

NUM_IMAGES, NUM_LABELS = 40, 12


def draw(case: str, seed: int) -> tuple[Tensor, Tensor]:
    """Returns logits (N, C) and a target (N, C) without unknown labels."""
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(NUM_IMAGES, NUM_LABELS, generator=generator) < 0.2).to(torch.int8)
    logits = torch.randn(NUM_IMAGES, NUM_LABELS, generator=generator) + target
    if case == "ties":
        return logits.round(), target
    if case == "all equal":
        return torch.zeros_like(logits), target
    if case == "signed zeros":
        return torch.where(logits > 0, 0.0, -0.0), target
    if case == "all negative":
        return logits, torch.zeros_like(target)
    if case == "all positive":
        return logits, torch.ones_like(target)
    if case == "absent labels":
        return logits, target * (torch.arange(NUM_LABELS) % 3 == 0)
    if case == "empty and full images":
        target[:9], target[9:14] = 0, 1
        return logits.round(), target
    if case == "one image":
        return logits[:1], target[:1]
    if case == "huge logits":
        return logits * 5e37, target
    assert case == "random"
    return logits, target


def compute_with_sklearn(logits: Tensor, target: Tensor, threshold: float = 0.5) -> dict[str, float]:
    """Returns scikit-learn's scores of logits and target (N, C), C > 1; macro over the labels with a positive, those of
    rankings over the labels with a negative too.
    """
    scores, truth = logits.numpy(), target.numpy()
    decisions = (torch.sigmoid(logits) > threshold).numpy().astype(np.int8)
    present = np.flatnonzero(truth.any(axis=0))
    ranked = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        aps = [sklearn.metrics.average_precision_score(truth[:, label], scores[:, label]) for label in ranked]
        aurocs = [sklearn.metrics.roc_auc_score(truth[:, label], scores[:, label]) for label in ranked]
        micro_ap = sklearn.metrics.average_precision_score(truth, scores, average="micro")
        macro = [decide_with_sklearn(truth[:, label], decisions[:, label], "binary") for label in present]
        micro = decide_with_sklearn(truth, decisions, "micro")
        return {
            "map": mean(aps),
            "micro_ap": micro_ap if np.unique(truth).size == 2 else math.nan,
            "macro_auroc": mean(aurocs),
            "micro_f1": micro[2],
            "macro_f1": mean([f1 for _, _, f1 in macro]),
            "micro_precision": micro[0],
            "macro_precision": mean([precision for precision, _, _ in macro]),
            "micro_recall": micro[1],
            "macro_recall": mean([recall for _, recall, _ in macro]),
            "hamming_loss": sklearn.metrics.hamming_loss(truth, decisions),
            "num_labels_evaluated": len(present),
            "num_labels_ranked": len(ranked),
            "num_images": len(truth),
            **compute_image_scores_with_sklearn(truth, scores, decisions),
        }


def compute_image_scores_with_sklearn(truth: np.ndarray, scores: np.ndarray, decisions: np.ndarray) -> dict[str, float]:
    """Returns the means over images of truth, scores and decisions (N, C)."""
    return {
        "samples_f1": sklearn.metrics.f1_score(truth, decisions, average="samples", zero_division=0),
        "jaccard_samples": sklearn.metrics.jaccard_score(truth, decisions, average="samples", zero_division=0),
        "subset_accuracy": sklearn.metrics.accuracy_score(truth, decisions),
        "lrap": sklearn.metrics.label_ranking_average_precision_score(truth, scores),
        "ranking_loss": sklearn.metrics.label_ranking_loss(truth, scores),
        "coverage_error": sklearn.metrics.coverage_error(truth, scores),
    }


def measure_auroc_with_sklearn(truth: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve of one label, NaN where scikit-learn warns that it has none."""
    return sklearn.metrics.roc_auc_score(truth, scores) if np.unique(truth).size == 2 else math.nan


def decide_with_sklearn(truth: np.ndarray, decisions: np.ndarray, average: str) -> tuple[float, float, float]:
    return sklearn.metrics.precision_recall_fscore_support(truth, decisions, average=average, zero_division=0)[:3]


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def same(expected: dict[str, float]) -> dict[str, float]:
    return pytest.approx(expected, abs=1e-9, nan_ok=True)


def unnamed(num_labels: int) -> LabelSpace:
    return LabelSpace(tuple(f"label {column}" for column in range(num_labels)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "case",
    [
        "random",
        "ties",
        "all equal",
        "signed zeros",
        "all negative",
        "all positive",
        "absent labels",
        "empty and full images",
        "one image",
        "huge logits",
    ],
)
def test_all_scores_equal_scikit_learn(case: str, seed: int) -> None:
    logits, target = draw(case, seed)
    scores = multi_label_scores(logits, target)
    assert tuple(scores) == SCORES
    assert scores == same(compute_with_sklearn(logits, target))


def test_all_scores_equal_scikit_learn_on_many_images_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multihot.metrics.blocks.ENTRIES_IN_CHUNK", 1000)
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(2000, 30, generator=generator) < 0.05).to(torch.int8)
    logits = torch.randn(2000, 30, generator=generator) * 3 + target
    assert multi_label_scores(logits, target) == same(compute_with_sklearn(logits, target))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
def test_decisions_follow_the_threshold(threshold: float) -> None:
    logits, target = draw("random", seed=0)
    assert multi_label_scores(logits, target, threshold) == same(compute_with_sklearn(logits, target, threshold))


def test_each_label_may_have_its_own_threshold() -> None:
    logits, target = draw("random", seed=0)
    thresholds = np.linspace(0.2, 0.8, NUM_LABELS)
    table = evaluate_logits(logits, target, unnamed(logits.shape[1]), thresholds).table
    for row, threshold, column in zip(table, thresholds, range(NUM_LABELS), strict=True):
        alone = multi_label_scores(logits[:, [column]], target[:, [column]], threshold)
        assert (row["precision"], row["recall"]) == (alone["micro_precision"], alone["micro_recall"])


def test_a_probability_equal_to_the_threshold_is_no_prediction() -> None:
    table = evaluate_logits(torch.zeros(2, 1), torch.ones(2, 1), LabelSpace(("cat",)), threshold=0.5).table
    assert table[0]["predicted"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_table_equals_scikit_learn_label_by_label(seed: int) -> None:
    logits, target = draw("absent labels", seed)
    table = evaluate_logits(logits, target, unnamed(logits.shape[1])).table
    assert [row["label"] for row in table] == list(unnamed(logits.shape[1]).labels)
    for column, row in enumerate(table):
        truth, decisions = target[:, column].numpy(), (logits[:, column] > 0).numpy()
        assert tuple(row) == ("label", *COLUMNS)
        assert (row["support"], row["predicted"]) == (truth.sum(), decisions.sum())
        expected = [math.nan] * 4
        if truth.any():
            ap = sklearn.metrics.average_precision_score(truth, logits[:, column].numpy())
            expected = [ap, *decide_with_sklearn(truth, decisions, "binary")]
        assert [row[name] for name in ("ap", "precision", "recall", "f1")] == same(expected)
        assert row["auroc"] == same(measure_auroc_with_sklearn(truth, logits[:, column].numpy()))


@pytest.mark.parametrize("seed", range(3))
def test_one_label_is_scored_like_a_binary_classifier(seed: int) -> None:
    logits, target = (matrix[:, :1] for matrix in draw("ties", seed))
    evaluation = evaluate_logits(logits, target, LabelSpace(("cat",)))
    truth, decisions = target[:, 0].numpy(), (logits[:, 0] > 0).numpy()
    ap = sklearn.metrics.average_precision_score(truth, logits[:, 0].numpy())
    auroc = measure_auroc_with_sklearn(truth, logits[:, 0].numpy())
    precision, recall, f1 = decide_with_sklearn(truth, decisions, "binary")
    hits, wrong = (truth & decisions).mean(), (truth != decisions).mean()
    expected = {
        **{"map": ap, "micro_ap": ap, "macro_auroc": auroc, "micro_f1": f1, "macro_f1": f1},
        **{"samples_f1": hits, "jaccard_samples": hits},
        **{"micro_precision": precision, "macro_precision": precision, "micro_recall": recall, "macro_recall": recall},
        **{"hamming_loss": wrong, "subset_accuracy": 1 - wrong},
        **{"num_labels_evaluated": 1, "num_labels_ranked": 1, "num_images": NUM_IMAGES},
        # an image's only label is ranked first: nothing is ranked wrongly, and the depth is 1 where it is present
        **{"lrap": 1.0, "ranking_loss": 0.0, "coverage_error": truth.mean()},
    }
    assert evaluation.scores == same(expected)
    assert (evaluation.table[0]["ap"], evaluation.table[0]["auroc"]) == same((ap, auroc))


def test_without_any_positive_what_needs_one_is_nan() -> None:
    scores = multi_label_scores(torch.randn(4, 3), torch.zeros(4, 3))
    unknown = [name for name, value in scores.items() if math.isnan(value)]
    assert unknown == ["map", "micro_ap", "macro_auroc", "macro_f1", "macro_precision", "macro_recall"]
    assert scores["num_labels_evaluated"] == 0


def test_a_label_without_a_known_negative_is_left_out_of_map_and_macro_auroc() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [1.0, 2.0, 0.0]])
    target = torch.tensor([[0, 1, 0], [1, -1, 0], [1, 1, 0]])
    evaluation = evaluate_logits(logits, target, LabelSpace(("cat", "dog", "owl")))
    assert [row["auroc"] for row in evaluation.table] == same([0.0, math.nan, math.nan])
    assert [row["ap"] for row in evaluation.table] == same([2 / 3, math.nan, math.nan])
    assert [row["recall"] for row in evaluation.table] == same([1.0, 1.0, math.nan])
    assert (evaluation.scores["map"], evaluation.scores["macro_auroc"]) == (2 / 3, 0.0)
    assert (evaluation.scores["num_labels_evaluated"], evaluation.scores["num_labels_ranked"]) == (2, 1)


def test_without_any_known_negative_no_ranking_is_measured() -> None:
    target = torch.tensor([[1, -1, -1], [-1, 1, -1]])  # a file whose "no" was read as unknown: once map 1.0
    evaluation = evaluate_logits(torch.randn(2, 3), target, unnamed(3))
    rankings = [evaluation.scores[name] for name in ("map", "micro_ap", "macro_auroc")]
    assert rankings == same([math.nan] * 3)
    assert (evaluation.scores["num_labels_evaluated"], evaluation.scores["num_labels_ranked"]) == (2, 0)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_auroc_of_many_labels_equals_scikit_learn(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(50, 200, generator=generator) < share).to(torch.int8)
    logits = (torch.randn(50, 200, generator=generator) * 2 + target).round()
    target[torch.rand(50, 200, generator=generator) < 0.1] = -1
    evaluation = evaluate_logits(logits, target, unnamed(200))
    known = target.numpy() >= 0
    expected = [
        measure_auroc_with_sklearn(truth[rows], scores[rows])
        for truth, scores, rows in zip(target.numpy().T, logits.numpy().T, known.T, strict=True)
    ]
    assert [row["auroc"] for row in evaluation.table] == same(expected)
    assert evaluation.scores["macro_auroc"] == same(float(np.nanmean(expected)))


def test_saturated_logits_are_ranked_exactly() -> None:
    logits = torch.tensor([[20.0, 25.0, 30.0], [30.0, 25.0, 20.0]])
    target = torch.tensor([[0, 0, 1], [1, 0, 0]], dtype=torch.int8)
    assert torch.sigmoid(logits).unique().tolist() == [1.0]
    scores = multi_label_scores(logits, target)
    ranking = [scores[name] for name in ("map", "micro_ap", "macro_auroc", "lrap", "ranking_loss", "coverage_error")]
    assert ranking == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]


def draw_with_unknown(seed: int, case: str = "ties") -> tuple[Tensor, Tensor]:
    """Returns logits and a target with a fifth of the labels, all of image 3 and all of label 5 unknown."""
    logits, target = draw(case, seed)
    generator = torch.Generator().manual_seed(seed + 100)  # not draw's numbers: they would hide just the positives
    target[torch.rand(target.shape, generator=generator) < 0.2] = -1
    target[3], target[:, 5] = -1, -1
    assert (target == 1).any()
    return logits, target


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_labels_leave_unknown_labels_out(seed: int) -> None:
    logits, target = draw_with_unknown(seed)
    evaluation = evaluate_logits(logits, target, unnamed(logits.shape[1]))
    for column, row in enumerate(evaluation.table):
        known = target[:, column] >= 0
        truth, scores = target[known, column].numpy(), logits[known, column].numpy()
        expected = [math.nan] * 4
        if truth.any():
            ap = sklearn.metrics.average_precision_score(truth, scores)
            expected = [ap, *decide_with_sklearn(truth, scores > 0, "binary")]
        assert [row[name] for name in ("ap", "precision", "recall", "f1")] == same(expected)
        assert row["auroc"] == same(measure_auroc_with_sklearn(truth, scores))
    assert math.isnan(evaluation.table[5]["ap"])
    assert evaluation.scores["map"] == same(mean([row["ap"] for row in evaluation.table if row["support"]]))


@pytest.mark.parametrize("seed", range(3))
def test_micro_scores_leave_unknown_labels_out(seed: int) -> None:
    logits, target = draw_with_unknown(seed)
    scores = multi_label_scores(logits, target)
    known = target >= 0
    truth, known_logits = target[known].numpy(), logits[known].numpy()
    micro = [scores[f"micro_{name}"] for name in ("precision", "recall", "f1")]
    assert micro == same(list(decide_with_sklearn(truth, known_logits > 0, "binary")))
    assert scores["micro_ap"] == same(sklearn.metrics.average_precision_score(truth, known_logits))
    assert scores["hamming_loss"] == same(sklearn.metrics.hamming_loss(truth, known_logits > 0))


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_images_leave_unknown_labels_out(seed: int) -> None:
    logits, target = draw_with_unknown(seed)
    scores = multi_label_scores(logits, target)
    images = []
    for row, known in enumerate(target >= 0):
        if known.any():
            image_logits = logits[[row]][:, known]
            decisions = (image_logits > 0).int()
            images.append(compute_image_scores_with_sklearn(target[[row]][:, known], image_logits, decisions))
    expected = {name: mean([image[name] for image in images]) for name in images[0]}
    assert {name: scores[name] for name in expected} == same(expected)
    assert scores["num_images"] == NUM_IMAGES - 1


def test_a_target_without_any_known_label_gives_nan() -> None:
    scores = multi_label_scores(torch.randn(4, 3), torch.full((4, 3), -1))
    names = ("map", "macro_auroc", "samples_f1", "hamming_loss", "lrap", "ranking_loss")
    assert all(math.isnan(scores[name]) for name in names)
    assert scores["num_images"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_several_updates_equal_one(seed: int) -> None:
    logits, target = draw_with_unknown(seed, "absent labels")
    expected = multi_label_scores(logits, target)
    metrics = create_metrics(unnamed(NUM_LABELS))
    for _ in range(2):  # the second time after a reset
        for batch, batch_target in zip(logits.split(17), target.split(17), strict=True):
            metrics.update(batch, batch_target)
        result = metrics.compute()
        assert {name: result[name].item() for name in SCORES} == same(expected)
        metrics.reset()


def test_one_update_keeps_the_logits_without_a_copy() -> None:
    logits, target = draw("random", seed=0)
    metrics = create_metrics(unnamed(NUM_LABELS))
    metrics.update(logits, target)
    assert metrics["AveragePrecision"].logits[0].data_ptr() == logits.data_ptr()
    assert metrics["AveragePrecision"].target[0].data_ptr() == target.data_ptr()


def test_torchmetrics_agrees_on_map_where_all_labels_are_present() -> None:
    from torchmetrics.classification import MultilabelAveragePrecision

    logits, target = draw("random", seed=0)
    assert target.any(dim=0).all()
    expected = MultilabelAveragePrecision(NUM_LABELS)(torch.sigmoid(logits), target.long()).item()
    assert multi_label_scores(logits, target)["map"] == pytest.approx(expected, abs=1e-6)  # theirs is float32


def test_torchmetrics_errs_with_unknown_answers_absent_labels_and_ties() -> None:
    """Why metrics/collection.py has classes of its own: if one of these fails, torchmetrics has been mended."""
    from torchmetrics.functional import classification

    def theirs(name: str, logits: Tensor, target: Tensor, **settings) -> Tensor:
        score = getattr(classification, f"multilabel_{name}")
        return score(torch.sigmoid(logits), target.long(), num_labels=NUM_LABELS, ignore_index=-1, **settings)

    logits, target = draw("random", seed=0)
    unknown = target.clone()
    unknown[torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.2] = -1
    ours = multi_label_scores(logits, unknown)  # as scikit-learn has it, by the tests above
    for name in ("coverage_error", "ranking_loss", "hamming_distance"):
        score = name.replace("distance", "loss")
        assert theirs(name, logits, target).item() == pytest.approx(multi_label_scores(logits, target)[score], abs=1e-6)
        assert theirs(name, logits, unknown).item() != pytest.approx(ours[score], abs=1e-3)
    unknown[:, 3] = -1
    for name in ("average_precision", "auroc"):
        with pytest.raises(IndexError):
            theirs(name, logits, unknown)
    absent = target.clone()
    absent[:, 3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of the label without a positive
        each, mean_of_all = (theirs("average_precision", logits, absent, average=way) for way in (None, "macro"))
    assert (each[3].item(), mean_of_all.item()) == (0, pytest.approx(each.mean().item()))
    assert multi_label_scores(logits, absent)["map"] == pytest.approx(each.sum().item() / (NUM_LABELS - 1), abs=1e-6)
    tied, _ = draw("ties", seed=0)
    assert theirs("ranking_loss", tied, target).item() != pytest.approx(
        sklearn.metrics.label_ranking_loss(target.numpy(), tied.numpy()), rel=0.01
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float16])
def test_the_target_may_have_any_dtype(dtype: torch.dtype) -> None:
    logits, target = draw_with_unknown(seed=0)
    assert multi_label_scores(logits, target.to(dtype)) == same(multi_label_scores(logits, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_scored_as_what_they_are(dtype: torch.dtype) -> None:
    logits, target = draw("random", seed=0)
    logits = logits.to(dtype).requires_grad_()
    assert multi_label_scores(logits, target) == same(compute_with_sklearn(logits.detach().float(), target))


LOGITS, TARGET = torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.int8)


def change(matrix: Tensor, value: float) -> Tensor:
    changed = matrix.clone()
    changed[2, 1] = value
    return changed


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (LOGITS[0], TARGET[0], r"the shape \(N, C\), images by labels, not \(3,\)"),
        (LOGITS[:0], TARGET[:0], r"not \(0, 3\)"),
        (LOGITS[:, :2], TARGET[:, :2], "one column for each of 3 labels, not 2"),
        (LOGITS, TARGET[:3], r"the shape of the logits \(4, 3\), not \(3, 3\)"),
        (LOGITS.double(), TARGET, "not torch.float64"),
        (LOGITS.int(), TARGET, "not torch.int32"),
        (change(LOGITS, math.nan), TARGET, r"logits\[2, 1\] is nan"),
        (change(LOGITS, -math.inf), TARGET, r"logits\[2, 1\] is -inf"),
        (LOGITS, change(TARGET, 2), r"target\[2, 1\] is 2"),
        (LOGITS, change(TARGET, -2), r"target\[2, 1\] is -2"),
        (LOGITS, change(TARGET.float(), 0.5), r"target\[2, 1\] is 0.5"),
        (LOGITS, change(TARGET.float(), math.nan), r"target\[2, 1\] is nan"),
        (LOGITS, change(TARGET.long(), 257), r"target\[2, 1\] is 257"),
    ],
)
def test_wrong_input_is_refused_with_its_place(logits: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_logits(logits, target, LabelSpace(("cat", "dog", "owl")))


@pytest.mark.parametrize(
    ("threshold", "message"),
    [(50, "from 0 to 1, not 50"), (math.nan, "not nan"), ([0.5, 0.5], "a list of 3, .* but is a list of 2")],
)
def test_a_wrong_threshold_is_refused(threshold: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        multi_label_scores(LOGITS, TARGET, threshold)


def test_torchmetrics_is_not_imported_before_the_first_metric() -> None:
    code = "import sys, multihot.metrics; sys.exit('torchmetrics' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_image_whose_one_label_is_unknown_is_left_out() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    target = torch.tensor([[1, 0, 0], [0, 1, 0], [-1, -1, -1], [0, -1, -1]], dtype=torch.int8)
    labels = ("cat", "dog", "owl")
    evaluation = evaluate_single_label(logits, target, labels)
    known = evaluate_single_label(logits[:2], target[:2], labels)
    assert evaluation.scores == known.scores
    assert (evaluation.scores["accuracy"], evaluation.scores["num_images"]) == (0.5, 2)
    assert [row["predicted"] for row in evaluation.table] == [row["predicted"] for row in known.table] == [2, 0, 0]


def test_without_any_known_label_the_single_label_scores_are_nan() -> None:
    scores = evaluate_single_label(torch.zeros(2, 3), torch.full((2, 3), -1), ("cat", "dog", "owl")).scores
    assert scores == same({"accuracy": math.nan, "macro_f1": math.nan, "num_labels_evaluated": 0, "num_images": 0})


def test_a_group_does_not_take_the_name_of_a_score() -> None:
    labels = ("cat", "dog")
    with pytest.raises(InputError, match="subset_accuracy in the place of the score"):
        check_group_names([Group("subset", labels)])
    for name in ("set", "subsets", "label", "size"):
        assert f"{name}_accuracy" not in SCORES
        check_group_names([Group(name, labels)])
