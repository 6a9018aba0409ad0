"""Draws splits whose true scores are known, and counts how often the intervals of multihot hold them.

python scripts/simulate_intervals.py                  the table of docs/evaluation.md, in minutes
python scripts/simulate_intervals.py --quick          the same of a few small splits, in seconds

Negatives score N(0, 1) and positives N(quality, 1), each label with a quality of its own: its average precision among
all possible images is an integral. A wrong interval misses it too often, a wide one finds no difference of two models.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from scipy.stats import norm

from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.bootstrap import average_labels
from multihot.metrics.intervals import LEVEL, ap_interval, basic_interval
from multihot.metrics.resampled_rankings import resample_labels
from multihot.metrics.resamples import draw_weights

BETTER = {3: 0.4, 10: 0.2, 30: 0.12, 300: 0.04}  # positives a label -> by how much the second model's quality is higher
SHARED = 0.8  # of the variance of a score: what is hard for one model is hard for the other
CLUSTER_SIZE = 8  # images of a patient, with the same answers
ALIKE = 0.8  # of the variance of a score: what they have in common
QUALITY = (0.5, 2.5)  # of the worst and the best label

Interval = tuple[float, float]


def main() -> None:
    """Prints a table of coverage, size and power, and one of images in clusters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=250, help="drawn for each row")
    parser.add_argument("--images", type=int, default=1000, help="in a split")
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--positives", type=int, nargs="+", default=list(BETTER), choices=BETTER, help="a label, mean")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.splits, arguments.resamples, arguments.positives = 6, 40, [3, 300]
    torch.set_num_threads(1)  # of small matrices
    size = (arguments.images, arguments.labels, arguments.resamples)
    print_table("positives a label", arguments.positives, partial(simulate_models, *size), arguments.splits)
    print(f"\nImages in clusters of {CLUSTER_SIZE}, basic interval of mAP:\n")
    print_table("positives a label", arguments.positives, partial(simulate_clusters, *size), arguments.splits)


def print_table(title: str, positives: Sequence[int], simulate, num_splits: int) -> None:
    """Prints a row for each number of positives: means over the splits of what `simulate` returns by name."""
    for number, num_positives in enumerate(positives):
        rng = np.random.default_rng(num_positives)
        found = [simulate(num_positives, rng) for _ in range(num_splits)]
        if not number:
            print(f"| {title} | {' | '.join(found[0])} |")
            print("|---" * (len(found[0]) + 1) + "|")
        means = (np.nanmean([one[name] for one in found]) for name in found[0])
        print(f"| {num_positives} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)


def simulate_models(num_images: int, num_labels: int, num_resamples: int, num_positives: int, rng) -> dict[str, float]:
    """Returns which intervals hold the truth, and which tests find a difference, of two models on one split."""
    share, quality = num_positives / num_images, np.linspace(*QUALITY, num_labels)
    better = quality + BETTER[num_positives]
    target = rng.random((num_images, num_labels)) < share
    common = rng.normal(size=target.shape)
    first, equal, second = (
        target * shift + mix(common, rng.normal(size=target.shape), SHARED) for shift in (quality, quality, better)
    )
    weights = draw_weights(num_images, num_resamples, seed=int(rng.integers(2**31)))
    truth, better_truth = (true_ap(shift, share) for shift in (quality, better))
    of_labels = [rank(logits, target, weights) for logits in (first, equal, second)]
    maps = [average_labels(values)["map"] for values in of_labels]
    precision = of_labels[0][0]
    ranked = np.flatnonzero(~np.isnan(precision[:, 0]))
    basics = [interval(values) for values in maps]
    return {
        "AP: logit interval": hold(ap_interval(precision[:, 0], target.sum(axis=0)), truth, precision[:, 0]),
        "AP: percentile": np.mean([holds(percentile(precision[label]), truth[label]) for label in ranked]),
        "mAP: basic": holds(basics[0], truth.mean()),
        "mAP: percentile": holds(percentile(maps[0]), truth.mean()),
        "no difference: paired finds one": not holds(interval(maps[1] - maps[0]), 0),
        "true difference": better_truth.mean() - truth.mean(),
        "paired finds it": not holds(interval(maps[2] - maps[0]), 0),
        "intervals do not overlap": basics[0][1] < basics[2][0] or basics[2][1] < basics[0][0],
    }


def simulate_clusters(
    num_images: int, num_labels: int, num_resamples: int, num_positives: int, rng
) -> dict[str, float]:
    """Returns which intervals hold the truth where images of a cluster are alike."""
    share, quality = num_positives / num_images, np.linspace(*QUALITY, num_labels)
    clusters = np.arange(num_images) // CLUSTER_SIZE
    target = (rng.random((num_images, num_labels)) < share)[clusters]
    common = rng.normal(size=target.shape)[clusters]
    logits = target * quality + mix(common, rng.normal(size=target.shape), ALIKE)
    seed, truth = int(rng.integers(2**31)), true_ap(quality, share)
    by_image, by_cluster = (
        rank(logits, target, draw_weights(num_images, num_resamples, drawn, seed)) for drawn in (None, clusters)
    )
    precision, num_positives = by_image[0, :, 0], target.sum(axis=0)
    return {
        "AP: all positives": hold(ap_interval(precision, num_positives), truth, precision),
        "AP: clusters with one": hold(ap_interval(precision, target[::CLUSTER_SIZE].sum(axis=0)), truth, precision),
        "mAP: by image": holds(interval(average_labels(by_image)["map"]), truth.mean()),
        "mAP: by cluster": holds(interval(average_labels(by_cluster)["map"]), truth.mean()),
    }


def mix(common: np.ndarray, own: np.ndarray, share: float) -> np.ndarray:
    """Returns noise of variance 1 of which a share is common."""
    return np.sqrt(share) * common + np.sqrt(1 - share) * own


def true_ap(quality: np.ndarray, share: float) -> np.ndarray:
    """Returns the average precision (C,) among all possible images: the mean over the positives of the precision at
    their score, where a share of the images is positive.
    """
    score = norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None] + quality
    hits, false_alarms = share * norm.sf(score, quality), (1 - share) * norm.sf(score)
    return (hits / (hits + false_alarms)).mean(axis=0)


def rank(logits: np.ndarray, target: np.ndarray, weights: torch.Tensor) -> np.ndarray:
    """Returns average precision and AUROC of each label, (2, C, 1 + R): as measured, and of each resample."""
    matrices = LogitsAndTarget(torch.from_numpy(logits).float(), torch.from_numpy(target.astype(np.int8)))
    space = LabelSpace(tuple(map(str, range(target.shape[1]))))
    return resample_labels(matrices, space, torch.cat([torch.ones_like(weights[:1]), weights]))


def interval(values: np.ndarray) -> Interval:
    """Returns the basic interval: values (1 + R,), the first as measured."""
    return basic_interval(values[0], values[1:])


def percentile(values: np.ndarray) -> Interval:
    """Returns the percentile interval, which is here to be compared with: values (1 + R,)."""
    return tuple(np.nanquantile(values[1:], ((1 - LEVEL) / 2, (1 + LEVEL) / 2)))


def hold(ends: tuple[np.ndarray, np.ndarray], truth: np.ndarray, precision: np.ndarray) -> float:
    """Returns the share of the labels that have an average precision (C,) whose interval holds the truth (C,)."""
    held = (ends[0] <= truth) & (truth <= ends[1])
    return float(held[~np.isnan(precision)].mean()) if not np.isnan(precision).all() else np.nan


def holds(ends: Interval, truth: float) -> bool:
    """Returns whether an interval holds the truth; a label without one does not."""
    return bool(ends[0] <= truth <= ends[1])


if __name__ == "__main__":
    main()
