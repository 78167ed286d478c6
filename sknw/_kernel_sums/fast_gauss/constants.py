"""Numbers that the Chebyshev expansions share with their compiled loops."""

# Polynomials a feature, and the largest width of cells in bandwidths: the kernel is interpolated to 1e-15.
P, WIDTH = 16, 1.15
# Bound of the error of one feature's translation between two cells, as a part of exp(-gap^2 / 4). Interpolation of
# f(u) = exp(-u^2 / 2) in a cell of width w: 2 (w / 4)^P max|f^(P)| / P! < 2.2 (w / 4)^P exp(-gap^2 / 4) / sqrt(P!)
# = 1e-15, by Cramer's bound of the Hermite functions; five times for interpolating twice and for rounding.
CELL_ERROR = 5e-15
# An own term is subtracted from a sum only if the sum keeps this part of it; else the rest is summed directly.
LARGEST_LOSS = 0.1
# Coefficients of all cells, in bytes, that may be held.
MEMORY = 2**30
# Chunks that a thread takes.
CHUNK = 512
