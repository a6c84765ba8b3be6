"""Compiled loops on clean arrays. They never validate, log or choose."""
