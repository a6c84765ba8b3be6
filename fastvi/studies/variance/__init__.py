"""Study: variances under reverse and forward KL."""
