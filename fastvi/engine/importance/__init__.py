"""Importance sampling: what is sampled (targets), from what (proposals), and how the weights are summed."""
