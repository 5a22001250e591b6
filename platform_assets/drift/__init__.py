"""Drift of what is deployed: sketches of a reference, windows over a stream, and a monitor with a deadline."""
