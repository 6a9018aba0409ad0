"""From logits to one number: binary losses, exclusive groups, unknown and many labels.

multi_label.py is the loss of a run; it leaves unknown answers out, or takes them for what data/unknown.py says.
"""

from multihot.data.unknown import UnknownStrategy
from multihot.loss.checks import check_loss
from multihot.loss.create import create_loss, share_known
from multihot.loss.functions import AsymmetricLoss, BinaryCrossEntropy, FocalLoss, ProbabilityBinaryCrossEntropy
from multihot.loss.many_labels import MANY_LABELS, FactoredLogits, can_factor
from multihot.loss.multi_label import MultiLabelLoss

__all__ = [
    "MANY_LABELS",
    "AsymmetricLoss",
    "BinaryCrossEntropy",
    "FactoredLogits",
    "FocalLoss",
    "MultiLabelLoss",
    "ProbabilityBinaryCrossEntropy",
    "UnknownStrategy",
    "can_factor",
    "check_loss",
    "create_loss",
    "share_known",
]
