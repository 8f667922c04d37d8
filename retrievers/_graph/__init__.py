"""Graphs of items and users: walks over them, and skip-gram on the walks."""
