"""Threads, executors, checkpoints and progress."""
