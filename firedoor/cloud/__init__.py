"""Clients of the clouds, one file a cloud."""
