"""Convolutions and their gradients, written for speed alone; the plain ones give the same values."""
