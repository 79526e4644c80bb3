"""Actions on AWS."""
