"""Variational distributions and proposals over the latents."""
