"""Latent-variable models: immutable, validated when built, saved without pickle."""
