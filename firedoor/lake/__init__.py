"""Keeping logs, and asking them."""
