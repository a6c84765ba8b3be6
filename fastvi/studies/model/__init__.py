"""Study: networks fitted to the digits by exact maximum likelihood."""
