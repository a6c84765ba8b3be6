"""Questions answered exactly, by summing over all latent states."""
