"""The steps that compiled loops share, each over a row of numbers."""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, SINE, exp2, inner, max, min, wide_vectors, without_nan


@inner(MULTIPLY_ADD)
def set_squared_distances(distances, query, keys, first):
    """distances[j] = ||query - keys[:, first + j]||^2."""
    wide_vectors()
    n = distances.size
    q, z = query[0], keys[0, first : first + n]
    for j in range(n):
        distances[j] = (q - z[j]) ** 2
    for k in range(1, len(keys)):
        q, z = query[k], keys[k, first : first + n]
        for j in range(n):
            distances[j] += (q - z[j]) ** 2


@inner(MULTIPLY_ADD)
def powers(distances, power):
    """u^power from u^2, in place."""
    wide_vectors()
    zero, half = distances.dtype.type(0.0), distances.dtype.type(0.5 * power)
    if power == 1.0:
        for j in range(distances.size):
            distances[j] = np.sqrt(max(distances[j], zero))
    elif power == 3.0:
        for j in range(distances.size):
            distances[j] *= np.sqrt(max(distances[j], zero))
    elif power != 2.0:
        for j in range(distances.size):
            distances[j] = max(distances[j], zero) ** half


@inner(MULTIPLY_ADD)
def inverse_powers(slopes, distances, power):
    """slopes = u^(power - 2) from u^2, for a power below 2; 0 where it is infinite."""
    wide_vectors()
    exponent = 0.5 * power - 1.0
    for j in range(distances.size):
        sq = distances[j]
        if exponent == -0.5:
            slopes[j] = 1.0 / np.sqrt(sq) if sq > 0.0 else 0.0
        else:
            slopes[j] = sq**exponent if sq > 0.0 else 0.0


@inner(MULTIPLY_ADD)
def multiply(row, others):
    wide_vectors()
    for j in range(row.size):
        row[j] *= others[j]


@inner()
def exponentials(weights, distances, rate, furthest):
    """2^(rate min(distance, furthest))."""
    wide_vectors()
    for j in range(weights.size):
        weights[j] = exp2(min(distances[j], furthest), rate)


@inner()
def exponentiate(row, shift, rate, furthest):
    """2^(rate min(distance - shift, furthest)), in place: `exponentials` would go number by number."""
    wide_vectors()
    for j in range(row.size):
        row[j] = exp2(min(row[j] - shift, furthest), rate)


@inner(REORDERED)
def smallest_of(row):
    wide_vectors()
    without_nan()
    smallest = row[0]
    for j in range(row.size):
        smallest = min(smallest, row[j])
    return smallest


@inner(REORDERED)
def subtract(row, shift):
    """Subtract a number from a row, and return the smallest of what is left."""
    wide_vectors()
    without_nan()
    smallest = row[0] - shift
    for j in range(row.size):
        row[j] -= shift
        smallest = min(smallest, row[j])
    return smallest


@inner(REORDERED)
def product(weights, column, n):
    """sum_j weights[j] column[j] of the first n."""
    wide_vectors()
    total = 0.0
    for j in range(n):
        total += weights[j] * column[j]
    return total


@inner()
def put_in_range(row, value, numbers, first, last):
    """row[j] = value where first <= numbers[j] < last."""
    wide_vectors()
    for j in range(numbers.size):
        if first <= numbers[j]:  # noqa: SIM102 - a joined condition would keep the loop from vectors
            if numbers[j] < last:
                row[j] = value


@inner(MULTIPLY_ADD)
def sine(v):
    """sin(pi v / 2) for 0 <= v <= 1."""
    x = v * v
    p = ((((SINE[9] * x + SINE[8]) * x + SINE[7]) * x + SINE[6]) * x + SINE[5]) * x + SINE[4]
    return v * ((((p * x + SINE[3]) * x + SINE[2]) * x + SINE[1]) * x + SINE[0])


@inner(MULTIPLY_ADD)
def finish_compact(weights, n, exponent, is_cosine):
    """The first n weights, in place, from v = 1 - u^power: v^exponent, or of the cosine sin(pi v / 2)^exponent.

    An exponent of 1, 2, 3, 4 or 6: up to a cube, and the squares of these.
    """
    wide_vectors()
    if is_cosine:
        for j in range(n):
            weights[j] = sine(weights[j])
    if exponent % 3 == 0:
        for j in range(n):
            weights[j] *= weights[j] * weights[j]
    if exponent % 2 == 0:
        for j in range(n):
            weights[j] *= weights[j]
    if exponent == 4:
        for j in range(n):
            weights[j] *= weights[j]
