"""Logits of a whole split, saved as predictions; all scores are computed from these, without the model."""
