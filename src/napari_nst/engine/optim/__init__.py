"""Optimizers on the pixels, and the sizes that they work at."""
