"""Sweeps of coordinate ascent."""
