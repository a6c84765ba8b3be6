"""Study: the cost of enumeration, beside naive loops."""
