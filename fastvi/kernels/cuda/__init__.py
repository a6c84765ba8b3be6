"""Loops over device arrays, compiled for CUDA; file for file beside ``kernels/cpu``."""
