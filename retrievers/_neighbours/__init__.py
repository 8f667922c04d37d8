"""Retrievers that score a history by neighbour lists, and how such lists are found."""
