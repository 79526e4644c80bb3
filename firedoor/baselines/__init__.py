"""What is measured of accounts, resources and principals: one file for each metric."""
