"""What may be set: kind and range of every setting, checked before data is read, compared when a run goes on.

A setting that there is not is explained by hydra_errors.py where hydra refuses it, else by check.py.
"""
