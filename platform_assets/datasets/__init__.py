"""Datasets: sources, contracts, splits."""
