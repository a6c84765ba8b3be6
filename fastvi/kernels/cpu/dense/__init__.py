"""Products of matrices and layers of networks."""
