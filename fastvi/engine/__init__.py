"""Dispatch: how a question is cut into tiles, which kernel runs, the guard, the merge.

Rooms import one way: run, linalg < states < posterior < decoder < importance < annealing, expectation,
quadrature < mean_field, memory < cuda < sampling.
"""
