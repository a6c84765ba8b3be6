"""Study: learning by exact likelihood and by bounds."""
