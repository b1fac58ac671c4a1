"""Frames, truth and folders as they lie on disk."""
