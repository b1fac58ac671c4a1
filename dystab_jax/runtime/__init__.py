"""Devices, processes, checkpoints, interruption and files: what a run stands on."""
