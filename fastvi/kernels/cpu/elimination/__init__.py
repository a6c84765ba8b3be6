"""Loops over tables of elimination."""
