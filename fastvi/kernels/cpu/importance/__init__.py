"""Log weights of drawn states."""
