"""Prepares data sets: videos and still images become records, with optical flow both ways."""
