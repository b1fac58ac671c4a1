"""Holds one module for each data set, named as --dataset names it."""
