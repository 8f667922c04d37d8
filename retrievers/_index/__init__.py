"""Vector indexes: the nearest items of a vector."""
