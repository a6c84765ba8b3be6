"""Arguments, checked once: options, data in groups that see the same pixels, q and proposals."""
