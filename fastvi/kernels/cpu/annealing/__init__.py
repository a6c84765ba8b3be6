"""Gibbs and Hamiltonian moves of annealed chains."""
