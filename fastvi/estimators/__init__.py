"""Monte Carlo estimates of log p(x), each with its error and diagnosis; functions of given log weights."""
