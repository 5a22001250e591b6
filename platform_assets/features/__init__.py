"""Features: what models read."""
