"""The report about a run or two on a split: one page from saved predictions, never from a live model.

`result.py` reads what a run has said of a split, `curves.py` and `numbers.py` count it, `picks.py` chooses pictures,
`warnings.py` says what a reader must know first, and `page.py` writes all of it into one file.
"""
