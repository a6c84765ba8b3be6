"""Coordinate ascent of a factorised q."""
