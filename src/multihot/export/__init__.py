"""A trained model as the files that other software loads."""
