"""Arms over the same fitted paths: who gets which, and what the answers were worth."""
