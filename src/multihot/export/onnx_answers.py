"""What turns logits into answers, as a part of an ONNX graph: calibration, thresholds, a softmax inside groups."""

from collections.abc import Sequence

import numpy as np

from multihot.decisions import Decisions
from multihot.decisions.calibration import Calibration, Slopes, Steps
from multihot.export.onnx_graph import Part
from multihot.export.onnx_names import DECISION, LOGITS, PROBABILITY


def create_answers(decisions: Decisions) -> Part:
    """Returns the part that reads `logits` float32 (B, C) and gives `probability` float32 (B, C) and `decision` bool
    (B, C), as `Decisions` does; computed in float32.
    """
    part, space = Part("answers"), decisions.space
    probabilities, answers = [], []
    if space.independent:
        own = take(part, LOGITS, space.independent, len(space.labels))
        log_odds = calibrate(part, own, decisions.calibration, space.independent)
        probabilities.append(add_sigmoid(part, log_odds))
        answers.append(part.add("Greater", own, decisions.cuts.numpy()[space.independent]))
    for group, columns, temperature in zip(
        space.groups, space.columns, decisions.calibration.temperatures, strict=True
    ):
        inside = take(part, LOGITS, columns, len(space.labels))
        if group.none:  # one more logit, always 0
            inside = part.add("Pad", inside, np.array([0, 0, 0, 1]), np.array(0, np.float32))
        softmax = part.add("Softmax", part.add("Div", inside, np.array(temperature, np.float32)), axis=1)
        probabilities.append(take(part, softmax, range(len(columns)), len(columns) + group.none))
        winner = part.add("ArgMax", inside, axis=1, keepdims=1)
        answers.append(part.add("Equal", winner, np.arange(len(columns))))
    order = [*space.independent, *(column for columns in space.columns for column in columns)]
    put_together(part, probabilities, order, PROBABILITY)
    put_together(part, answers, order, DECISION)
    return part


def take(part: Part, matrix: str, columns: Sequence[int], num_columns: int) -> str:
    """Returns some columns of a matrix; the matrix itself if they are all."""
    if list(columns) == list(range(num_columns)):
        return matrix
    return part.add("Gather", matrix, np.array(columns), axis=1)


def put_together(part: Part, matrices: Sequence[str], order: Sequence[int], name: str) -> None:
    """Names the matrices beside each other, with their columns at the places that `order` gives."""
    joined = part.add("Concat", *matrices, axis=1) if len(matrices) > 1 else matrices[0]
    part.add("Identity", take(part, joined, np.argsort(order).tolist(), len(order)), output=name)


def calibrate(part: Part, logits: str, calibration: Calibration, columns: Sequence[int]) -> str:
    """Returns the log-odds of independent labels: logits float32 (B, K) of these columns."""
    maps = [calibration.maps[column] for column in columns]
    log_odds = logits
    for kind, curve in CURVES.items():
        chosen = np.array([kind_of(each) == kind for each in maps])
        if chosen.any():
            curved = curve(part, logits, maps)
            log_odds = curved if chosen.all() else part.add("Where", chosen, curved, log_odds)
    return log_odds


def add_sigmoid(part: Part, log_odds: str) -> str:
    """Returns 1 / (1 + exp(-log-odds)).

    The Sigmoid of onnxruntime 1.32 is off by up to 2e-7, in steps: below -5 it mixes up the order of the logits.
    """
    odds_against = part.add("Exp", part.add("Neg", log_odds))
    return part.add("Reciprocal", part.add("Add", odds_against, np.array(1, np.float32)))


def kind_of(curve: Slopes | Steps | None) -> str | None:
    """Returns the kind of what calibrates a label."""
    return "isotonic" if isinstance(curve, Steps) else curve and curve.kind


def add_platt(part: Part, logits: str, maps: Sequence[Slopes | Steps | None]) -> str:
    """Returns slope * logit + intercept, of the labels that have them."""
    slope, intercept = stack_parameters(maps, "platt", 2)
    return part.add("Add", part.add("Mul", logits, slope), intercept)


def add_beta(part: Part, logits: str, maps: Sequence[Slopes | Steps | None]) -> str:
    """Returns a * softplus(logit) - b * softplus(-logit) + c, of the labels that have them."""
    first, second, intercept = stack_parameters(maps, "beta", 3)
    absent = part.add("Mul", part.add("Softplus", logits), first)
    present = part.add("Mul", part.add("Softplus", part.add("Neg", logits)), second)
    return part.add("Add", part.add("Sub", absent, present), intercept)


def stack_parameters(maps: Sequence[Slopes | Steps | None], kind: str, num: int) -> np.ndarray:
    """Returns the parameters float32 (num, K) of the labels of a kind, and ones of the others."""
    rows = [each.parameters if kind_of(each) == kind else np.ones(num) for each in maps]
    return np.array(rows, np.float32).T


def add_steps(part: Part, logits: str, maps: Sequence[Slopes | Steps | None]) -> str:
    """Returns the log-odds of the last step that is not above the logit, found by halving, of the labels with steps."""
    steps = [each if isinstance(each, Steps) else Steps(np.zeros(1), np.zeros(1)) for each in maps]
    width = 1 << max(len(each.logits) for each in steps).bit_length()
    edges = np.full((len(steps), width), np.inf, np.float32)
    values = np.zeros((len(steps), width), np.float32)
    for row, each in enumerate(steps):
        edges[row, : len(each.logits)] = round_up(each.logits)
        values[row, : len(each.logits)] = each.log_odds
    edges, values = part.constant(edges.flatten()), part.constant(values.flatten())
    place = part.constant(width * np.arange(len(steps)))  # in front of the first step
    half = width // 2
    while half:
        next_place = part.add("Add", place, np.array(half))
        is_above = part.add("GreaterOrEqual", logits, part.add("Gather", edges, next_place))
        place = part.add("Where", is_above, next_place, place)
        half //= 2
    return part.add("Gather", values, place)


def round_up(numbers: np.ndarray) -> np.ndarray:
    """Returns the least float32 that are not below these float64: a float32 logit is at or above both or neither."""
    rounded = numbers.astype(np.float32)
    return np.where(rounded < numbers, np.nextafter(rounded, np.float32(np.inf)), rounded)


CURVES = {"platt": add_platt, "beta": add_beta, "isotonic": add_steps}
