"""Fitting variational distributions (and, later, encoders and models)."""
