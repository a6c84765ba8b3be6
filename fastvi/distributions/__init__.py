"""Distributions over latents: variational distributions, proposals and encoders."""
