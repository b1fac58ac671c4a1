"""Holds RAFT (Teed and Deng, ECCV 2020): the network is in `estimator`."""
