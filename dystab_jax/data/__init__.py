"""Records of frames, flow and masks, and the way from them to batches."""
