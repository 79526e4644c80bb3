"""Collectors: one file for each kind of place where logs lie."""
