"""From logits to decisions: calibrated probabilities and thresholds, fitted to the answers of a split.

All of it is a pure function of logits and targets. `Decisions` keeps what was fitted, and where.
"""

from multihot.decisions.aims import Cost, MacroF1, MicroF1, Precision, Recall, SamplesF1
from multihot.decisions.decisions import Decisions
from multihot.decisions.fit import fit_decisions

__all__ = ["Cost", "Decisions", "MacroF1", "MicroF1", "Precision", "Recall", "SamplesF1", "fit_decisions"]
