"""A new fit that is published only where it is no worse."""
