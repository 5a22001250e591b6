"""Tuning: a Katib Experiment, executed."""
