"""Only the pairs of blocks that are near enough to count, for kernels that end and for exponentials."""
