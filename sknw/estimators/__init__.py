"""The estimators: thin shells of parameters, docstrings and fitted attributes."""
