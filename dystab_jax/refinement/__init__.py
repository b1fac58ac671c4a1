"""Dense CRF and guided filter: pull masks to the borders in the image."""
