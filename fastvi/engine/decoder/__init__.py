"""Networks with hidden layers, and logits that are large."""
