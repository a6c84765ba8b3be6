"""Evidence lower bounds and Kullback-Leibler divergences."""
