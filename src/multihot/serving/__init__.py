"""A page and an API that answer with a run's decisions."""
