"""Configs that stand for several runs, and what a run says of itself in its results."""
