"""The values that everything else speaks in: frozen, strict, and free of input and output."""
