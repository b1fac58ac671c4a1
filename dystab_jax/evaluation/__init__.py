"""Scores runs and mask files."""
