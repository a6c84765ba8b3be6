"""Frozen holders, storage, validation and files, which every room uses."""
