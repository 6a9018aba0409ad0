"""Predictions as annotation tools import them: `format=<tool>` of scripts/predict.py.

A record is that of `Describer`, where `image` is what the tool calls it and `file` its path here.
"""

from multihot.prediction.tools.coco import Coco
from multihot.prediction.tools.cvat import Cvat
from multihot.prediction.tools.fiftyone import FiftyOne
from multihot.prediction.tools.label_studio import LabelStudio
from multihot.prediction.writers import Writer

WRITERS_OF_TOOLS: dict[str, type[Writer]] = {
    "coco": Coco,
    "cvat": Cvat,
    "fiftyone": FiftyOne,
    "label_studio": LabelStudio,
}
