"""Log sources: one file each."""
