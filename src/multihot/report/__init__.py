"""The report about a run or two on a split: one page from saved predictions, never from a live model.

`result.py` reads what a run has said of a split, `curves.py` and `numbers.py` count it, `confusions.py` finds labels
that are confused, `picks.py` chooses pictures, `warnings.py` says what a reader must know first, `summary.py` how good
the run is, and `page.py` writes all of it into one file.
"""
