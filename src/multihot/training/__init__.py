"""The training of a run, whose loop over epochs is in train.py.

recipe.py holds what the settings say, build.py reads the data and makes loss, model and batches, epoch.py trains one
epoch, validation.py measures it and writes history.json, val/, best/ (trained.py) and last/. finished.json comes last.
"""
