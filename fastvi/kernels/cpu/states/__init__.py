"""Sums over tiles of states."""
