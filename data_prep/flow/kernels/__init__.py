"""Convolutions of the flow networks, written for speed."""
