"""Reads records of frames, flow and masks, and makes batches of them."""
