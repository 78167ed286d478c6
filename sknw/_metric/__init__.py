"""Learning w, the metric."""
