"""Kriging: attention with learned values, whose scales and powers are chosen by restricted likelihood."""
