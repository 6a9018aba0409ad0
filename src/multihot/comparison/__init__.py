"""Runs beside each other: which count, in rows of equal settings, and what to doubt in that."""
