"""Logits of a whole split, saved as predictions; all scores are computed from these, without the model.

The validation predicts after each epoch, evaluate.py any split, unless predictions.py finds the same ones saved.
"""
