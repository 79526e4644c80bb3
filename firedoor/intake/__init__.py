"""Transports that bring findings in, one file each."""
