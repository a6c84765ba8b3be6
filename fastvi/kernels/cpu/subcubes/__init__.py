"""Bounds of subcubes: states of which some bits are fixed."""
