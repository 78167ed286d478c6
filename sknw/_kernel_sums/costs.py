"""What the engines cost: nanoseconds of one thread of an Intel Xeon with AVX-512, by benchmarks/engine_choice.py.

They decide which engine is taken, and nothing else: a result never depends on them.
"""

from __future__ import annotations

from sknw.kernels import Form

# Loading numba and the compiled loops; compiling them, once a machine, takes some seconds more.
LOAD_SECONDS = 0.4
# NumPy is done with a request that takes it less before any other engine has begun.
SMALL_SECONDS = 1e-4

# A kernel evaluation in NumPy, and what each column adds to it, by a matrix product.
DENSE_PAIR, DENSE_COLUMN = 10.0, 0.05

# Compiled brute force: a call; the number of keys in a block (the last block is filled up); a kernel evaluation without
# and with a root; what each feature adds to it, and each column, above the number of columns with which a block of keys
# stays in the cache.
TILED_CALL, TILED_BLOCK = 3e5, 512
TILED_PAIR, TILED_PAIR_WITH_ROOT, TILED_FEATURE = 0.5, 1.3, 0.04
TILED_COLUMN, TILED_COLUMN_OF_MANY, TILED_COLUMNS_IN_CACHE = 0.05, 0.11, 128
# Where each weight serves both keys of a pair: the part of the time of brute force that this saves, and the seconds of
# compiling its loops, once a machine.
PAIRS_SAVE, PAIRS_COMPILING = 0.35, 2.0
# Sums over ranges of keys: a query, and a pair in units of compiled brute force.
RANGE_QUERY, RANGE_PAIR = 100.0, 2.0
# Seconds that a further request takes at each bandwidth, however small.
PART_CALL = 2e-4
# Weights that are written out, in units of weights that are summed at once.
TILED_WRITTEN = 3.0

# Running sums of one feature: a point at each bandwidth, of a polynomial up to the fourth degree and above; a
# bandwidth.
SWEEP_POINT, SWEEP_POINT_OF_HIGH_DEGREE, SWEEP_BANDWIDTH = 12.0, 25.0, 6e4

# The Gaussian of one feature: a call, a point and a bandwidth; of a direct sum before its first key, and of a key; to
# begin with expansions; a cell, of keys to make its moments and of queries to translate them; and a coefficient of a
# cell times one of a matrix.
LINE_CALL, LINE_POINT, LINE_BANDWIDTH = 3e5, 6.0, 8e4
# Seconds of compiling the loops of expansions, once a machine.
LINE_COMPILING = 4.0
LINE_SUM, LINE_KEY, LINE_EXPANSIONS, LINE_CELL, LINE_TRANSLATION = 50.0, 0.5, 2.5e5, 500.0, 0.06

# The Gaussian of two and three features: a call; a point; a coefficient times a point; a coefficient of a cell times
# one of a matrix, and what visiting cells adds to it.
CELLS_CALL, CELLS_POINT = 5e5, 200.0
# Seconds of compiling, once a machine.
CELLS_COMPILING = 12.0
COEFFICIENT_POINT, TRANSLATION, TRANSLATION_OVERHEAD = 0.25, {2: 0.13, 3: 0.12}, 1.5
# Direct sums over the keys near: an evaluation, a query in units of these; a line of cells, a key near that is copied.
NEAR_PAIR, NEAR_QUERY, NEAR_LINE, NEAR_KEY = 1.0, 200.0, 200.0, 4.0
# The same as it enters the estimate for a whole request.
NEAR_PAIR_ESTIMATED = 1.3

# Trees of blocks: a call, of compact kernels and of exponentials; a point on each level of a tree; a pair in reach, in
# units of compiled brute force, more of the Gaussian, whose distances brute force gets from products.
TREE_CALL, TREE_CALL_EXPONENTIAL, TREE_POINT = 1e5, 4e5, 20.0
# Seconds of compiling the loops of exponentials, once a machine.
TREE_COMPILING = 6.0
TREE_PAIR, TREE_PAIR_GAUSSIAN, TREE_PAIR_FEATURE = 1.0, 1.05, 0.03

# A cluster: the way to its workers and back, and a byte on it.
CLUSTER_CALL, CLUSTER_BYTE = 1e8, 3.0


def dense_pair(n_columns: int) -> float:
    """A kernel evaluation in NumPy, with what it is multiplied by."""
    return DENSE_PAIR + DENSE_COLUMN * n_columns


def tiled_pair(form: Form, d: int, n_columns: int) -> float:
    """A kernel evaluation by compiled brute force, in d features."""
    n_more = max(n_columns - TILED_COLUMNS_IN_CACHE, 0)
    of_columns = TILED_COLUMN * (n_columns - n_more) + TILED_COLUMN_OF_MANY * n_more
    return (TILED_PAIR if form.power == 2 else TILED_PAIR_WITH_ROOT) + TILED_FEATURE * d + of_columns
