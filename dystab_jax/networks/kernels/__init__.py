"""Convolutions and their gradients, written for speed alone; plain ones give the same."""
