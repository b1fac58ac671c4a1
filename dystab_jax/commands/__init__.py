"""Does what the commands say; the only room that imports data_prep."""
