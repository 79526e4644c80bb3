"""Fault drills of the actions in AWS."""
