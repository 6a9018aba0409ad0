"""Times and weighs what is fitted and measured after a training, on made-up logits.

python scripts/weigh_decisions.py 40000 1000     images and labels
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from timing import peak_memory, restart_peak

from multihot.decisions import MicroF1, SamplesF1, fit_decisions
from multihot.decisions.cross_fit import cross_fit
from multihot.evaluation.decided import measure_calibration
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate
from multihot.labels import LabelSpace
from multihot.metrics.bootstrap import resample
from multihot.metrics.resamples import draw_weights


def main() -> None:
    """Prints a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("num_images", type=int)
    parser.add_argument("num_labels", type=int)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    predictions = make_predictions(arguments.num_images, arguments.num_labels)
    space, aim = predictions.space, MicroF1()
    fit = partial(fit_decisions, space=space, aim=aim)
    decisions = weigh("calibration and one threshold", lambda: fit(predictions))
    weigh("a threshold a label", lambda: fit(predictions, per_label=True))
    weigh("a threshold a label, for samples F1", lambda: fit_decisions(predictions, space, SamplesF1(), per_label=True))
    weigh("the same by cross-fitting, with intervals", lambda: cross_fit(predictions, fit, space.decide))
    weigh("all scores", lambda: evaluate(predictions))
    weights = draw_weights(len(predictions), arguments.resamples)
    weigh("intervals of all scores", lambda: resample(predictions, space, weights, space.decide))
    weigh("measures of calibration, before and after", lambda: measure_calibration(predictions, decisions))


def weigh(title: str, step: Callable[[], object]) -> object:
    """Prints how long a step takes, and how much memory beyond what was in use; returns what it does."""
    before, start = restart_peak(), time.perf_counter()
    result = step()
    taken, extra = time.perf_counter() - start, (peak_memory() - before) / 1e6
    print(f"{title:<42} {taken:6.1f} s   + {extra:.2f} GB", flush=True)
    return result


def make_predictions(num_images: int, num_labels: int) -> Predictions:
    """Returns predictions of labels that are on one image in ten thousand to one in ten."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.logspace(-4, -1, num_labels)
    target = (torch.rand(num_images, num_labels, generator=generator) < frequency).to(torch.int8)
    logits = torch.randn(num_images, num_labels, generator=generator).mul_(1.5).add_(3 * target).add_(frequency.log())
    return Predictions(logits, target, space=LabelSpace(tuple(map(str, range(num_labels)))))


if __name__ == "__main__":
    main()
