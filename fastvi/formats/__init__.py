"""Models as other programs keep them, read into plain arrays and written from these."""
