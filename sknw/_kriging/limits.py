"""Where terms of the covariance are cut off, the same in NumPy and in compiled loops."""

# Squared distances, and logarithms (base 2) of terms, outside of these are moved to them: what is beyond is nothing to
# a sum of terms, or leaves nothing of kappa.
SMALLEST_SQUARE, LOG_TERMS = 1e-280, (-900.0, 100.0)
# The largest sum of terms: kappa = 1e-261.
LARGEST_SUM = 600.0
