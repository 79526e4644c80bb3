"""Saved queries: one file each."""
