"""Validation: metrics, drift, gates, the report."""
