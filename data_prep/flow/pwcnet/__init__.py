"""Holds PWC-Net (Sun et al., CVPR 2018): the network is in `estimator`."""
