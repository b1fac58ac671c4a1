"""Scores of runs and of mask files."""
