"""Rules: what the engine needs to know of a model, one file for each model.

Rooms of the engine that a first log p(x) does not need are imported in the members that use them: imported
with the file they made the first call 0.2 s longer.
"""
