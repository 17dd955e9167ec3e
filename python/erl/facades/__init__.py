"""Packages under the names of others, found where nobody has one that works."""
