"""Sums, smoothing and bounds of log weights."""
