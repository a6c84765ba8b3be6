"""Functions of log weights that the caller has, and the results that estimates are."""
