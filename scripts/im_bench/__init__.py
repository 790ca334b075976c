"""Benchmarks of the whole backend, with the load generator on the same machine."""
