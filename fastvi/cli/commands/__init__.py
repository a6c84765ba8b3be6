"""Commands: one file each, with its arguments, its help and its work."""
