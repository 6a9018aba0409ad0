"""A run folder: its files, how a training enters it and goes on, checkpoints, and the job of a sweep."""
