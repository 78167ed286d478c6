"""One feature: exact running sums along the sorted keys."""
