"""DyStaB in JAX: unsupervised object segmentation by dynamic-static bootstrapping."""
