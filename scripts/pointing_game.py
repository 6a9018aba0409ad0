"""Measures saliency on a run on the digits, whose places are known: does the most salient patch of a label lie on it?

python scripts/pointing_game.py runs/<name>

Asked of each label of the first test scenes with several labels, also where the model misses it. Beside it: how much of
the saliency lies on the label, and what a random patch, or a random digit of the scene, would reach.
"""

import argparse

import numpy as np
from PIL import Image

from multihot.data import create_source
from multihot.data.readers.digits import SCENE_SIZE, Place
from multihot.errors import InputError
from multihot.model.saved import load_model
from multihot.report.saliency import METHODS, create_explainer
from multihot.run.folder import load_run


def main(folder: str, num_images: int) -> None:
    """Prints a row a method."""
    run, trained, labels = load_run(folder, changes={})
    scenes = create_source(trained.data, None, 0)("test", labels)
    if not hasattr(scenes.read, "find_places"):
        raise InputError(f"{folder} was not trained on data=digits: of no other data the places are known")
    model = load_model(run.best, labels)
    rows = np.flatnonzero(np.diff(scenes.targets.indptr) > 1)[:num_images]
    print("| method | points at it | of its saliency there |\n|---|---|---|")
    for method in METHODS:
        explain = create_explainer(model, scenes.label_space(trained.single_label, trained.activation), method)
        scores = [score for row in rows for score in play(explain, scenes, scenes.images[row])]
        points, share, area, others = np.mean(scores, axis=0)
        print(f"| {method} | {points:.3f} | {share:.3f} |")
    print(f"| a random digit of the scene | {others:.3f} | |\n| a random patch | {area:.3f} | {area:.3f} |")
    print(f"\n{len(scores)} labels of {len(rows)} scenes")


def play(explain, scenes, image: str) -> list[tuple[bool, float, float, float]]:
    """Returns of each label of a scene whether the saliency points at it, its share there, the label's share of the
    picture, and its share of the digits.
    """
    picture, places, scores = scenes.read(image), scenes.read.find_places(image), []
    for digit in sorted({place.digit for place in places}):
        own = [place for place in places if place.digit == digit]
        shown = np.asarray(explain(draw_mask(own), digit)[0])[..., 0] > 127  # what the model sees of the places
        _, saliency = explain(picture, digit)
        num_rows, num_columns = saliency.shape
        patches = shown.reshape(num_rows, shown.shape[0] // num_rows, num_columns, -1)
        middle = patches[:, patches.shape[1] // 2, :, patches.shape[3] // 2]
        share = (saliency * patches.mean(axis=(1, 3))).sum() / saliency.sum()
        scores.append((middle.flat[saliency.argmax()], share, shown.mean(), len(own) / len(places)))
    return scores


def draw_mask(places: list[Place]) -> Image.Image:
    """Returns a picture that is white where the places are."""
    mask = np.zeros((SCENE_SIZE, SCENE_SIZE), np.uint8)
    for _, top, left, bottom, right in places:
        mask[top:bottom, left:right] = 255
    return Image.fromarray(mask).convert("RGB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run with data=digits")
    parser.add_argument("--images", type=int, default=200, help="scenes (200)")
    arguments = parser.parse_args()
    main(arguments.run, arguments.images)
