"""Many tries of one source to sign in by SSH."""

from firedoor.detections import _brute_force

DETECTION = _brute_force.detection("SSH", port=22, packets=40)
