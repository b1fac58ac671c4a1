"""The page with pictures, the figures and the tables of the paper."""
