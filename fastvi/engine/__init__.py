"""Dispatch: how a question is cut into tiles, which kernel runs, the guard, the merge."""
