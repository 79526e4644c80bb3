"""Runbooks, one YAML each, named by their id."""
