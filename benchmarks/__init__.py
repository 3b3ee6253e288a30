"""Benchmarks of the SDK against the official SDK and handwritten calls."""
