"""Sigma rules for the logs of clouds: read, turned into SQL, and matched against API activity."""
