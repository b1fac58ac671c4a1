"""What the commands do; the only room that imports data_prep."""
