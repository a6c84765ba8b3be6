"""Annealed importance sampling: chains for log Z of Boltzmann machines and for log p(x)."""
