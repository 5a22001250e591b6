"""Text classification: what is particular to lines of texts."""
