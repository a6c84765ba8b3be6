"""Certified intervals around log p(x) beyond enumeration."""
