"""Reference bins, certified distances and their significance: what validation and drift both measure with."""
