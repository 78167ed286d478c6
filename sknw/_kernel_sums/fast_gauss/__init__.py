"""The Gaussian in one to three features: expansions in cells."""
