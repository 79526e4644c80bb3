"""The one place that wires things together: discovery, the Temporal plugin, client and worker."""
