"""Many tries of one source to sign in by Remote Desktop."""

from firedoor.detections import _brute_force

DETECTION = _brute_force.detection("RDP", port=3389, packets=60)
