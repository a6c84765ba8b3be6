"""Products and solves whose bits do not depend on the number of threads, as those of BLAS do."""
