"""Reads frames, truth and folders as they lie on disk."""
