"""Reading: the bytes of a csv, JSON Lines or Parquet file become one Arrow table, and no value changes on the way."""
