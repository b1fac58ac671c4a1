"""Does what the commands say."""
