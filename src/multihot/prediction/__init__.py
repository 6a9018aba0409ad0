"""Answers for pictures that need no labels: from a run and pictures to rows of files."""
