"""Measurements, of what a claim about speed rests on."""
