"""Study: ELBO, importance-weighted bounds and log p(x)."""
