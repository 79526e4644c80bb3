"""Switches: one file for each kind of log or detection that a cloud can be told to start."""
