"""The choice of the bandwidth and of the ridge."""
