"""Who may decide, and what their votes amount to."""
