"""Settings, results, files and style that studies share."""
