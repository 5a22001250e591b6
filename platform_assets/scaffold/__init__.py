"""A first draft of a line, written from a look at somebody's data."""
