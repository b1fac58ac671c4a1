"""Shows results: the page with pictures, and the figures and tables of the paper."""
