"""Detections: one file each."""
