"""Sums over the states of sparse machines, unit after unit."""
