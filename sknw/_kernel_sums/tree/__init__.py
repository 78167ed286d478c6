"""Compact kernels: only the pairs of blocks within reach of each other."""
