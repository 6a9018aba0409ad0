"""Decisions: what turns logits into answers, and how far those can be believed; pure functions of predictions."""
