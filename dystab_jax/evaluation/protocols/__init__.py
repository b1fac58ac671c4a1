"""Counts and averages as each benchmark does."""
