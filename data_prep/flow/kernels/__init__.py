"""Convolves maps of the flow networks, fast on the CPU."""
