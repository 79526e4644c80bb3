"""Finding sources, one file each."""
