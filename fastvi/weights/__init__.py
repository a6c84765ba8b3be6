"""Diagnostics and bounds from log weights, and the result type of estimates."""
