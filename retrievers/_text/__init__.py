"""Item features as terms: an inverted index, its live changes, and items without interactions."""
