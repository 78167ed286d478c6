"""What is asked of a fitted model beyond the mean."""
