"""Compiled brute force, in tiles that stay in the cache."""
