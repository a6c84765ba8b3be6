"""States in tiles: forms of models, terms of data, batches of both."""
