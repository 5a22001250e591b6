"""Model cards: JSON-LD and HTML from the lineage."""
