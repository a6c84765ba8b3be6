"""Rules: what the engine needs to know of a model, one file for each model."""
