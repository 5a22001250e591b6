"""A package, so that no installed distribution that ships a `tests` of its own can take this one's place."""
