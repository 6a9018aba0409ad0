"""What scripts/validate_data.py finds out about a data set, and its report."""
