"""Studies of `fastvi study`: computations, tables and pictures."""
