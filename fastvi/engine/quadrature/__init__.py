"""Integrals over real latents."""
