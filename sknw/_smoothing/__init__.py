"""Kernel-weighted means and local lines of training samples."""
