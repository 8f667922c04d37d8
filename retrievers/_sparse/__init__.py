"""Sparse rows: scores summed along them, patches for live changes."""
