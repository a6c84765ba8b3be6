"""Study: missing pixels, summed out exactly."""
