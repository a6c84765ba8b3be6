"""Compiled loops on clean arrays; they never validate, log or choose."""
