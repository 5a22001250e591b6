"""Tabular classification: what is particular to lines of rows with columns of several kinds."""
