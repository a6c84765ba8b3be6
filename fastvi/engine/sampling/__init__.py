"""Samplers at work, on the CPU or on a GPU: log weights, their sums and means."""
