"""The emulated AWS for the demo, the tests and the benchmarks; the product knows nothing of it."""
