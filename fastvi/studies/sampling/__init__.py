"""Study: estimators held against the exact answer."""
