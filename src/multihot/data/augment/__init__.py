"""Augmentation in two halves: a worker draws the numbers of each image, the model's device computes a batch by them."""
