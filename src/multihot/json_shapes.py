"""What the JSON files of a run folder hold, and where one does not."""

from types import NoneType

NUMBER = (int, float)
SCORE = (int, float, NoneType)  # NaN is null
LABELS = [str]
HISTORY = [{"epoch": int, "update?": int, ...: SCORE}]
FINISHED = {"epoch": int, "config_sha256": str, "score?": SCORE, "last_epoch?": int, "global_batch_size?": int}
MANIFESTS = {...: {"num_images?": int, "sha256": str}}
COUNTS = {"label_count": [NUMBER], "num_known": [NUMBER], "num_images": int}
METRICS = {
    "threshold?": (*SCORE, list),
    "decisions?": {"description": str, "sha256": str},
    "intervals?": {...: [SCORE]},
    ...: SCORE,
}
CONFIG = {"data": {"_target_": str}, "model": {"name": str}, "head": {}, "loss": {"function": {}}, "batch_size": int}
VERSION = {"commit?": (str, NoneType), "dirty?": bool}
CODE = VERSION | {"went_on_with?": VERSION}
MODEL_CONFIG = {
    "architecture": str,
    "label_names": [str],
    "head": (dict, NoneType),
    "model_args?": {},
    "backbone?": str,
}
SEAL = {"files": {...: [int]}, "model?": str, "global_batch_size?": int, "epoch?": int, "batch?": int, "update?": int}
TOLD = {"wandb_run_id?": str, ...: {...: int}}  # of each tracker, the last update at which it was told a value
DECISIONS = {
    "label_space": {},
    "common_threshold": SCORE,
    "cuts": [SCORE],
    "own": [int],
    "kept": {...: str},
    "calibration": {"kind": str, "labels": [(list, dict, NoneType)], "temperatures": [NUMBER]},
    "fitted": {},
}
DATA_REPORT = {"findings": [{"kind": str, "count": int}]}  # of scripts/validate_data.py
COUNTED = {  # of a part of predict.py
    "num_images": int, "num_unreadable": int, "num_left_out?": int, "labels": {...: int}, "reasons": [str]
}  # fmt: skip
PREDICTED = {"plan": {}, "finished": (dict, NoneType)}  # beside the file of scripts/predict.py
BAD_IMAGES = [{"row": int, "image": str, "reason": str}]


def find_misfit(value: object, shape: object, place: str = "it") -> str | None:
    """Returns what is wrong with a value that was read from JSON; None if it has the shape.

    Args:
        shape: a type or several; [shape of each item]; or {name: shape}, where "name?" may be absent, `...` stands for
            all other names, and without `...` these may hold anything.

    >>> find_misfit([{"epoch": 1, "map": None}], HISTORY), find_misfit([{"epoch": "1"}], HISTORY)
    (None, "epoch in 0 is '1'")
    >>> find_misfit({}, LABELS), find_misfit({}, COUNTS)
    ('it is no list', 'it has no label_count')
    """
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{place} is no list"
        parts = [(item, shape[0], f"{number}") for number, item in enumerate(value)]
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{place} is no object"
        known = {str(name).removesuffix("?"): inner for name, inner in shape.items() if name is not ...}
        absent = [name for name in shape if name is not ... and not name.endswith("?") and name not in value]
        if absent:
            return f"{place} has no {absent[0]}"
        parts = [(item, known.get(name, shape.get(..., object)), name) for name, item in value.items()]
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        is_one = isinstance(value, types) and (type(value) is not bool or bool in types or object in types)
        return None if is_one else f"{place} is {value!r:.40}"
    inside = "" if place == "it" else f" in {place}"
    faults = (find_misfit(item, inner, f"{name}{inside}") for item, inner, name in parts)
    return next((fault for fault in faults if fault), None)
