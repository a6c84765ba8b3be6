"""Draws that are functions of (seed, datum, sample)."""
