"""Sums over the states of data: evidence, means, samples, modes, moments for gradients."""
