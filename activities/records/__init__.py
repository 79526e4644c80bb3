"""What the platform itself does: telling people, informing systems."""
