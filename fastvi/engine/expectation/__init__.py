"""Expectations of the log joint under a q, exact and sampled, and their gradients."""
